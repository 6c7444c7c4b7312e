//! A client of one service: the calls of kaservers and protection servers.

use super::abi::{Key, NAME, Name, PrCheckEntry, PtsEntry, RawToken, XdrList};
use super::{Afs, check};
use core::ffi::{c_int, c_void};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A client of one service. Ends its connections when dropped, which also acknowledges the last reply.
pub struct Client<'a> {
    pub(super) afs: &'a Afs,
    pub(super) client: NonNull<c_void>,
    pub(super) here: PhantomData<*const ()>,
}

impl core::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Client(..)")
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        // SAFETY: made by ubik_ClientInit and not destroyed before.
        unsafe { (self.afs.calls.ubik_client_destroy)(self.client.as_ptr()) };
    }
}

impl Client<'_> {
    /// `ka_Authenticate` for a ticket-granting ticket, and the days until the password expires (255 = never).
    /// The client must be one of service 731.
    ///
    /// # Errors
    /// The library's number.
    pub fn authenticate(
        &self,
        name: &mut Name,
        instance: &mut Name,
        cell: &mut Name,
        key: &mut Key,
        start: u32,
        end: u32,
    ) -> Result<(RawToken, i32), i32> {
        /// `KA_TICKET_GRANTING_SERVICE`.
        const TGS: c_int = 732;
        let mut token = RawToken::empty();
        let mut days = 255;
        // SAFETY: names are at most 63 bytes and NUL-terminated; key and token have the library's layout; the client is alive.
        let code = unsafe {
            (self.afs.calls.ka_authenticate)(
                name.ptr(),
                instance.ptr(),
                cell.ptr(),
                self.client.as_ptr(),
                TGS,
                key,
                start,
                end,
                &raw mut *token.0,
                &raw mut days,
            )
        };
        check(code).map(|()| (token, days))
    }

    /// `ka_GetToken` for the principal `afs` of the user's own cell. The client must be one of service 732.
    ///
    /// # Errors
    /// The library's number.
    pub fn get_token(
        &self,
        name: &mut Name,
        instance: &mut Name,
        cell: &mut Name,
        tgt: &mut RawToken,
        start: u32,
        end: u32,
    ) -> Result<RawToken, i32> {
        let (Some(mut afs), Some(mut none), Some(mut local)) =
            (Name::new("afs"), Name::new(""), Name::new(""))
        else {
            return Err(-1);
        };
        let mut token = RawToken::empty();
        // SAFETY: as for `authenticate`; an empty authentication domain is the cell's own.
        let code = unsafe {
            (self.afs.calls.ka_get_token)(
                afs.ptr(),
                none.ptr(),
                cell.ptr(),
                name.ptr(),
                instance.ptr(),
                self.client.as_ptr(),
                start,
                end,
                &raw mut *tgt.0,
                local.ptr(),
                &raw mut *token.0,
            )
        };
        check(code).map(|()| token)
    }

    /// The AFS id of a name; 32766 if there is none. The client must be one of the protection server.
    ///
    /// # Errors
    /// The library's number; `PRNOENT` if the server answered with an empty list.
    pub fn pts_name_to_id(&self, name: &Name) -> Result<i32, i32> {
        /// `PRNOENT`.
        const NO_ENTRY: i32 = 267_268;
        let mut names = [name.0];
        let mut list = XdrList { len: 1, val: names.as_mut_ptr() };
        let mut ids = XdrList::empty();
        // SAFETY: one name of PR_MAXNAMELEN bytes; the library allocates the ids.
        let code =
            unsafe { (self.afs.calls.pr_name_to_id)(self.client.as_ptr(), 0, &raw mut list, &raw mut ids) };
        check(code)?;
        if ids.len == 0 || ids.val.is_null() {
            return Err(NO_ENTRY);
        }
        // SAFETY: the library has allocated `len` ids, at least one. They are not freed: this process ends soon.
        Ok(unsafe { ids.val.read() })
    }

    /// The entry of an id.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_list_entry(&self, id: i32) -> Result<PtsEntry, i32> {
        let mut entry = PrCheckEntry {
            flags: 0,
            id: 0,
            owner: 0,
            creator: 0,
            ngroups: 0,
            nusers: 0,
            count: 0,
            reserved: [0; 5],
            name: [0; NAME],
        };
        // SAFETY: `entry` has the library's layout.
        let code = unsafe { (self.afs.calls.pr_list_entry)(self.client.as_ptr(), 0, id, &raw mut entry) };
        check(code).map(|()| PtsEntry { id: entry.id, flags: entry.flags })
    }

    /// Asks for a new entry of a user; its id, if there was none.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_new_user(&self, name: &mut Name) -> Result<i32, i32> {
        let mut id = 0;
        // SAFETY: a name of at most 63 bytes, NUL-terminated; `id` is where the id goes.
        let code =
            unsafe { (self.afs.calls.pr_new_entry)(self.client.as_ptr(), 0, name.ptr(), 0, 0, &raw mut id) };
        check(code).map(|()| id)
    }

    /// Asks for the groups of an id; they are not looked at.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_get_cps(&self, id: i32) -> Result<(), i32> {
        let mut list = XdrList::empty();
        let mut over = 0;
        // SAFETY: the library allocates the list, which is not freed: this process ends soon.
        check(unsafe {
            (self.afs.calls.pr_get_cps)(self.client.as_ptr(), 0, id, &raw mut list, &raw mut over)
        })
    }

    /// Whether a user is in a group, by their ids.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_is_member(&self, user: i32, group: i32) -> Result<bool, i32> {
        let mut is = 0;
        // SAFETY: `is` is where the answer goes.
        let code =
            unsafe { (self.afs.calls.pr_is_member)(self.client.as_ptr(), 0, user, group, &raw mut is) };
        check(code).map(|()| is != 0)
    }

    /// Asks for what an id owns; it is not looked at.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_list_owned(&self, id: i32) -> Result<(), i32> {
        let mut list = XdrList::empty();
        let mut last = 0;
        // SAFETY: as for `pts_get_cps`.
        check(unsafe {
            (self.afs.calls.pr_list_owned)(self.client.as_ptr(), 0, id, &raw mut list, &raw mut last)
        })
    }

    /// Sets the privacy bits of an id.
    ///
    /// # Errors
    /// The library's number.
    pub fn pts_set_flags(&self, id: i32, flags: i32) -> Result<(), i32> {
        /// `PR_SF_ALLBITS`.
        const ALL_BITS: i32 = 0xff;
        // SAFETY: no pointers but the client.
        check(unsafe {
            (self.afs.calls.pr_set_fields_entry)(self.client.as_ptr(), 0, id, ALL_BITS, flags, 0, 0, 0, 0)
        })
    }
}
