//! The library's functions, by their types.

use super::abi::{Key, KtcToken, NAME, PrCheckEntry, XdrList};
use core::ffi::{c_char, c_int, c_uint, c_ushort, c_void};
use libloading::os::unix::Library;

/// The functions of the library that we use.
pub(super) struct Calls {
    pub(super) ka_cell_config: unsafe extern "C" fn(*const c_char) -> c_int,
    pub(super) ka_string_to_key: unsafe extern "C" fn(*mut c_char, *mut c_char, *mut Key),
    pub(super) ka_authenticate: unsafe extern "C" fn(
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_void,
        c_int,
        *mut Key,
        u32,
        u32,
        *mut KtcToken,
        *mut i32,
    ) -> i32,
    pub(super) ka_get_token: unsafe extern "C" fn(
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_char,
        *mut c_void,
        u32,
        u32,
        *mut KtcToken,
        *mut c_char,
        *mut KtcToken,
    ) -> i32,
    pub(super) rx_init: unsafe extern "C" fn(c_uint) -> c_int,
    pub(super) rx_new_connection:
        unsafe extern "C" fn(u32, c_ushort, c_ushort, *mut c_void, c_int) -> *mut c_void,
    pub(super) rx_set_conn_dead_time: unsafe extern "C" fn(*mut c_void, c_int),
    pub(super) rx_set_conn_hard_dead_time: unsafe extern "C" fn(*mut c_void, c_int),
    pub(super) rx_destroy_connection: unsafe extern "C" fn(*mut c_void),
    pub(super) rx_new_call: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    pub(super) rx_write: unsafe extern "C" fn(*mut c_void, *mut c_char, c_int) -> c_int,
    pub(super) rx_flush_write: unsafe extern "C" fn(*mut c_void),
    pub(super) rx_read: unsafe extern "C" fn(*mut c_void, *mut c_char, c_int) -> c_int,
    pub(super) rx_interrupt_call: unsafe extern "C" fn(*mut c_void, i32),
    pub(super) rx_end_call: unsafe extern "C" fn(*mut c_void, i32) -> i32,
    pub(super) rxnull_new: unsafe extern "C" fn() -> *mut c_void,
    pub(super) rxkad_new: unsafe extern "C" fn(i8, *mut Key, i32, c_int, *mut c_char) -> *mut c_void,
    pub(super) rxs_release: unsafe extern "C" fn(*mut c_void) -> c_int,
    pub(super) ubik_client_init: unsafe extern "C" fn(*mut *mut c_void, *mut *mut c_void) -> c_int,
    pub(super) ubik_client_destroy: unsafe extern "C" fn(*mut c_void) -> i32,
    pub(super) pr_name_to_id:
        unsafe extern "C" fn(*mut c_void, i32, *mut XdrList<[u8; NAME]>, *mut XdrList<i32>) -> c_int,
    pub(super) pr_list_entry: unsafe extern "C" fn(*mut c_void, i32, i32, *mut PrCheckEntry) -> c_int,
    pub(super) pr_new_entry: unsafe extern "C" fn(*mut c_void, i32, *mut c_char, i32, i32, *mut i32) -> c_int,
    pub(super) pr_get_cps: unsafe extern "C" fn(*mut c_void, i32, i32, *mut XdrList<i32>, *mut i32) -> c_int,
    pub(super) pr_is_member: unsafe extern "C" fn(*mut c_void, i32, i32, i32, *mut i32) -> c_int,
    pub(super) pr_list_owned:
        unsafe extern "C" fn(*mut c_void, i32, i32, *mut XdrList<i32>, *mut i32) -> c_int,
    pub(super) pr_set_fields_entry:
        unsafe extern "C" fn(*mut c_void, i32, i32, i32, i32, i32, i32, i32, i32) -> c_int,
}

impl Calls {
    /// Finds all of them.
    ///
    /// # Errors
    /// The loader's, if one is missing.
    pub(super) fn find(library: &'static Library) -> Result<Self, libloading::Error> {
        /// The symbol's address as a function of the type that the field has.
        macro_rules! find {
            ($name:literal) => {{
                // SAFETY: the symbol is that function of OpenAFS 1.8, and the field that takes it has its type, by the headers that mod.rs names.
                let symbol = unsafe { library.get($name) }?;
                *symbol
            }};
        }
        Ok(Self {
            ka_cell_config: find!(b"ka_CellConfig\0"),
            ka_string_to_key: find!(b"ka_StringToKey\0"),
            ka_authenticate: find!(b"ka_Authenticate\0"),
            ka_get_token: find!(b"ka_GetToken\0"),
            rx_init: find!(b"rx_Init\0"),
            rx_new_connection: find!(b"rx_NewConnection\0"),
            rx_set_conn_dead_time: find!(b"rx_SetConnDeadTime\0"),
            rx_set_conn_hard_dead_time: find!(b"rx_SetConnHardDeadTime\0"),
            rx_destroy_connection: find!(b"rx_DestroyConnection\0"),
            rx_new_call: find!(b"rx_NewCall\0"),
            rx_write: find!(b"rx_WriteProc\0"),
            rx_flush_write: find!(b"rx_FlushWrite\0"),
            rx_read: find!(b"rx_ReadProc\0"),
            rx_interrupt_call: find!(b"rx_InterruptCall\0"),
            rx_end_call: find!(b"rx_EndCall\0"),
            rxnull_new: find!(b"rxnull_NewClientSecurityObject\0"),
            rxkad_new: find!(b"rxkad_NewClientSecurityObject\0"),
            rxs_release: find!(b"rxs_Release\0"),
            ubik_client_init: find!(b"ubik_ClientInit\0"),
            ubik_client_destroy: find!(b"ubik_ClientDestroy\0"),
            pr_name_to_id: find!(b"ubik_PR_NameToID\0"),
            pr_list_entry: find!(b"ubik_PR_ListEntry\0"),
            pr_new_entry: find!(b"ubik_PR_NewEntry\0"),
            pr_get_cps: find!(b"ubik_PR_GetCPS\0"),
            pr_is_member: find!(b"ubik_PR_IsAMemberOf\0"),
            pr_list_owned: find!(b"ubik_PR_ListOwned\0"),
            pr_set_fields_entry: find!(b"ubik_PR_SetFieldsEntry\0"),
        })
    }
}
