//! Connections of rx, and calls that are under way at the same time.

use super::{Afs, RX_FAIL, check};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use std::rc::Rc;

/// A connection to one server. Ended when dropped, which also acknowledges the last replies.
pub struct Connection<'a> {
    pub(super) afs: &'a Afs,
    pub(super) connection: NonNull<c_void>,
}

impl core::fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Connection(..)")
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // SAFETY: made by rx_NewConnection and not destroyed before; all its calls have ended, since each holds this.
        unsafe { (self.afs.calls.rx_destroy_connection)(self.connection.as_ptr()) };
    }
}

impl<'a> Connection<'a> {
    /// Sends a request, without waiting for the reply. No more than four calls may be under way: a fifth waits for one's end.
    ///
    /// # Errors
    /// The library's number.
    pub fn begin(self: &Rc<Self>, request: &[u8]) -> Result<Call<'a>, i32> {
        let length = c_int::try_from(request.len()).map_err(|_| RX_FAIL)?;
        let calls = &self.afs.calls;
        // SAFETY: the connection is alive.
        let call = NonNull::new(unsafe { (calls.rx_new_call)(self.connection.as_ptr()) }).ok_or(RX_FAIL)?;
        let under_way = Call { connection: Rc::clone(self), call: Some(call) };
        // SAFETY: the call is alive; `length` bytes are only read. What goes wrong is told at the end.
        unsafe { (calls.rx_write)(call.as_ptr(), request.as_ptr().cast_mut().cast(), length) };
        // SAFETY: the call is alive.
        unsafe { (calls.rx_flush_write)(call.as_ptr()) };
        Ok(under_way)
    }
}

/// A call that is under way. It is broken off when dropped.
pub struct Call<'a> {
    connection: Rc<Connection<'a>>,
    /// Nothing: it has ended.
    call: Option<NonNull<c_void>>,
}

impl core::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Call(..)")
    }
}

impl Call<'_> {
    /// Waits for the reply and its end; gives the length of it as far as there is room, and throws away what there is none for.
    ///
    /// # Errors
    /// The library's number, or the server's.
    pub fn end(mut self, reply: &mut [u8]) -> Result<usize, i32> {
        let call = self.call.take().ok_or(RX_FAIL)?;
        let calls = &self.connection.afs.calls;
        let read = |place: &mut [u8]| {
            let room = c_int::try_from(place.len()).unwrap_or(c_int::MAX);
            // SAFETY: the call is alive; `place` has room for as many bytes.
            let n = unsafe { (calls.rx_read)(call.as_ptr(), place.as_mut_ptr().cast(), room) };
            usize::try_from(n).unwrap_or(0)
        };
        let n = read(reply);
        let mut rest = [0; 1024];
        // Fewer bytes than were asked for are the end, or an error.
        while n == reply.len() && read(&mut rest) == rest.len() {}
        // SAFETY: the call is alive, and ended once: the handle has given it away.
        check(unsafe { (calls.rx_end_call)(call.as_ptr(), 0) }).map(|()| n)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        /// `RX_USER_ABORT`.
        const ABORT: i32 = -6;
        let Some(call) = self.call.take() else { return };
        let calls = &self.connection.afs.calls;
        // SAFETY: the call is alive. Its end does not wait for the reply after this.
        unsafe { (calls.rx_interrupt_call)(call.as_ptr(), ABORT) };
        // SAFETY: the call is alive, and ended once.
        unsafe { (calls.rx_end_call)(call.as_ptr(), ABORT) };
    }
}
