//! The calls of MPI, of which none waits but the last.

use std::process::abort;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use mpi::environment::Universe;
use mpi::ffi;

/// So long the end of MPI may take, by which time all ranks have said that they end.
pub const ENDING: Duration = Duration::from_secs(30);

/// All processes of the job.
pub struct World {
    comm: ffi::MPI_Comm,
    pub rank: usize,
    pub size: usize,
}

impl World {
    pub fn new(_: &Universe) -> Self {
        let (mut rank, mut size) = (0, 1);
        // SAFETY: MPI was started, as the argument shows; the communicator of all processes always is, and what is written
        // to lives until the calls return.
        let comm = unsafe {
            let comm = ffi::RSMPI_COMM_WORLD;
            ffi::MPI_Comm_rank(comm, &mut rank);
            ffi::MPI_Comm_size(comm, &mut size);
            comm
        };
        World { comm, rank: rank.unsigned_abs() as usize, size: size.unsigned_abs() as usize }
    }

    /// Begins to send a piece.
    pub fn send(&self, to: usize, tag: i32, bytes: Box<[u8]>) -> UnderWay {
        // SAFETY: a handle that is about to be filled in.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let count = bytes.len() as i32;
        // SAFETY: the bytes stay where they are, unchanged, until `UnderWay::is_done` has said that MPI no longer reads them.
        unsafe {
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Isend(bytes.as_ptr().cast(), count, byte, to as i32, tag, self.comm, &mut request);
        }
        UnderWay { request, tag, bytes, done: false }
    }

    /// Begins to receive a piece from a rank, where one has come.
    pub fn receive(&self, from: usize) -> Option<UnderWay> {
        // SAFETY: MPI fills the handles and the status in before they are read; the bytes that it writes to stay where they
        // are, unread, until `UnderWay::is_done` says that it has.
        unsafe {
            let (mut found, mut count) = (0, 0);
            let mut message = ffi::RSMPI_MESSAGE_NULL;
            let mut status: ffi::MPI_Status = std::mem::zeroed();
            let tag = ffi::RSMPI_ANY_TAG;
            ffi::MPI_Improbe(from as i32, tag, self.comm, &mut found, &mut message, &mut status);
            if found == 0 {
                return None;
            }
            let byte = ffi::RSMPI_UINT8_T;
            ffi::MPI_Get_count(&status, byte, &mut count);
            let mut bytes = vec![0_u8; count.unsigned_abs() as usize].into_boxed_slice();
            let mut request = ffi::RSMPI_REQUEST_NULL;
            ffi::MPI_Imrecv(bytes.as_mut_ptr().cast(), count, byte, &mut message, &mut request);
            Some(UnderWay { request, tag: status.MPI_TAG, bytes, done: false })
        }
    }

    /// Ends all processes.
    pub fn abort(&self) {
        // It asks the launcher to, which may be stopped itself.
        let _waiting = end_unless_done(|| {});
        // SAFETY: it takes plain values, and does not return.
        unsafe {
            ffi::MPI_Abort(self.comm, 1);
        }
    }
}

/// A piece that MPI reads or writes.
pub struct UnderWay {
    request: ffi::MPI_Request,
    pub tag: i32,
    pub bytes: Box<[u8]>,
    done: bool,
}

impl UnderWay {
    /// Whether MPI is done with it.
    pub fn is_done(&mut self) -> bool {
        self.done || self.becomes_done()
    }

    /// Whether MPI has become done with it since this was last asked.
    pub fn becomes_done(&mut self) -> bool {
        if self.done {
            return false;
        }
        let mut done = 0;
        // SAFETY: the handle is that of a call that was begun and has not been seen to end.
        unsafe {
            ffi::MPI_Test(&mut self.request, &mut done, ffi::RSMPI_STATUS_IGNORE);
        }
        self.done = done != 0;
        self.done
    }
}

/// Ends this process, after it has called `tell`, unless what is returned is dropped within [`ENDING`]. Its launcher then ends
/// all others.
#[must_use]
pub fn end_unless_done(tell: impl FnOnce() + Send + 'static) -> Sender<()> {
    let (done, waiting) = channel();
    let wait = move || {
        if waiting.recv_timeout(ENDING) == Err(RecvTimeoutError::Timeout) {
            tell();
            // Not `exit`, which may wait for what the threads of MPI and of the driver hold.
            abort();
        }
    };
    // Without the thread the process waits, as it would have without a limit.
    let _ = Builder::new().name("mpi end".to_owned()).spawn(wait);
    done
}
