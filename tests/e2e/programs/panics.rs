// SPDX-License-Identifier: Apache-2.0
// Rust panics that pass probed functions. Probed: everything in mod `probed`.
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_long};
use std::panic::{catch_unwind, resume_unwind};

#[repr(C)]
struct TruthCase {
    name: *const c_char,
    run: Option<extern "C" fn(c_int, *mut *mut c_char)>,
}

extern "C" {
    fn truth_main(argc: c_int, argv: *mut *mut c_char, cases: *const TruthCase) -> c_int;
    fn truth_enter(function: *const c_char) -> c_long;
    fn truth_leave(id: c_long, how: *const c_char);
    fn truth_unwind(id: c_long, how: *const c_char);
    fn truth_top() -> c_long;
}

fn enter(name: &'static [u8]) -> c_long {
    unsafe { truth_enter(CStr::from_bytes_with_nul(name).unwrap().as_ptr()) }
}
fn leave(id: c_long) {
    unsafe { truth_leave(id, b"return\0".as_ptr() as *const c_char) }
}
fn unwound(id: c_long) {
    unsafe { truth_unwind(id, b"exception\0".as_ptr() as *const c_char) }
}

struct Guard(c_long);
impl Drop for Guard {
    #[inline(never)]
    fn drop(&mut self) {
        if unsafe { truth_top() } != self.0 {
            unwound(self.0);
        }
        probed::pair(1);
    }
}

pub mod probed {
    use super::*;

    #[inline(never)]
    pub fn leaf(x: i64) -> i64 {
        let id = enter(b"panics::probed::leaf\0");
        leave(id);
        x + 1
    }

    #[inline(never)]
    pub fn pair(x: i64) -> i64 {
        let id = enter(b"panics::probed::pair\0");
        let r = leaf(x) + leaf(x + 1);
        leave(id);
        r
    }

    #[inline(never)]
    pub fn panics(x: i64) -> i64 {
        let id = enter(b"panics::probed::panics\0");
        leaf(x);
        if x % 2 == 0 {
            panic!("even {}", x);
        }
        leave(id);
        x
    }

    #[inline(never)]
    pub fn middle(x: i64) -> i64 {
        let id = enter(b"panics::probed::middle\0");
        let r = pair(x) + panics(x);
        leave(id);
        r
    }

    #[inline(never)]
    pub fn guarded(x: i64) -> i64 {
        let id = enter(b"panics::probed::guarded\0");
        let guard = Guard(id);
        let r = middle(x);
        drop(guard);
        leave(id);
        r
    }

    #[inline(never)]
    pub fn catches(x: i64) -> i64 {
        let id = enter(b"panics::probed::catches\0");
        let mut r = 0;
        if catch_unwind(|| middle(x)).is_err() {
            unwound(id);
            r = pair(x);
        }
        r += leaf(x);
        leave(id);
        r
    }

    #[inline(never)]
    pub fn catches_guarded(x: i64) -> i64 {
        let id = enter(b"panics::probed::catches_guarded\0");
        if catch_unwind(|| guarded(x)).is_err() {
            unwound(id);
        }
        let r = leaf(x);
        leave(id);
        r
    }

    #[inline(never)]
    pub fn resumes(x: i64) -> i64 {
        let id = enter(b"panics::probed::resumes\0");
        if let Err(e) = catch_unwind(|| middle(x)) {
            unwound(id);
            leaf(x);
            resume_unwind(e);
        }
        leave(id);
        x
    }

    #[inline(never)]
    pub fn catches_resumed(x: i64) -> i64 {
        let id = enter(b"panics::probed::catches_resumed\0");
        if catch_unwind(|| resumes(x)).is_err() {
            unwound(id);
        }
        let r = pair(x);
        leave(id);
        r
    }
}

extern "C" fn nested(_: c_int, _: *mut *mut c_char) {
    for i in 0..10 {
        probed::middle(2 * i + 1);
        probed::pair(i);
    }
}
extern "C" fn caught(_: c_int, _: *mut *mut c_char) {
    for i in 0..10 {
        probed::catches(i);
    }
}
extern "C" fn guarded(_: c_int, _: *mut *mut c_char) {
    for i in 0..10 {
        probed::catches_guarded(i);
    }
}
extern "C" fn resumed(_: c_int, _: *mut *mut c_char) {
    for i in 0..10 {
        probed::catches_resumed(i);
    }
}
extern "C" fn threads(_: c_int, _: *mut *mut c_char) {
    let all: Vec<_> = (0..8)
        .map(|t| {
            std::thread::spawn(move || {
                for i in 0..10 {
                    probed::catches(i + t);
                }
                let caught = catch_unwind(|| probed::middle(0));
                unwound(0);
                assert!(caught.is_err());
            })
        })
        .collect();
    for t in all {
        t.join().unwrap();
    }
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let args: Vec<CString> = std::env::args().map(|a| CString::new(a).unwrap()).collect();
    let mut argv: Vec<*mut c_char> = args.iter().map(|a| a.as_ptr() as *mut c_char).collect();
    argv.push(std::ptr::null_mut());
    let case = |name: &'static [u8], run| TruthCase { name: name.as_ptr() as *const c_char, run: Some(run) };
    let cases = [
        case(b"nested\0", nested),
        case(b"caught\0", caught),
        case(b"guarded\0", guarded),
        case(b"resumed\0", resumed),
        case(b"threads\0", threads),
        TruthCase { name: std::ptr::null(), run: None },
    ];
    let status = unsafe { truth_main(args.len() as c_int, argv.as_mut_ptr(), cases.as_ptr()) };
    std::process::exit(status);
}
