//! Memory that the allocator keeps.

/// Gives freed memory back to the system. Sessions keep what they freed for the next batch; what
/// runs in the same process, or beside it, may need that more.
///
/// No effect but with glibc.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: malloc_trim(3) takes any number, may be called by any thread at any time, and
        // touches freed memory alone.
        let _ = unsafe { malloc_trim(0) };
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    fn what_was_freed_goes_back() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        // In pieces small enough to come from the heap, the last of which stays.
        let mut pieces: Vec<Vec<u8>> = (0..1024).map(|_| vec![1; 64 << 10]).collect();
        let last = pieces.pop();
        drop(pieces);
        let before = resident();
        super::give_back();
        assert!(before > resident() + (32 << 20), "{before} bytes before, {} after", resident());
        drop(last);
    }
}
