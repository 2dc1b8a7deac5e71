//! Values that the kernel keeps with a task (`BPF_MAP_TYPE_TASK_STORAGE`, Linux 5.11): found by a
//! pointer in the task itself instead of a search, and gone with the task.

use core::{
    ffi::c_void,
    ptr::{self, NonNull},
};

use aya_ebpf::{
    bindings::{
        BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE,
        task_struct,
    },
    helpers::generated::bpf_task_storage_get,
};

/// A map of one `T` a task. The fields are what the loader reads from the type's BTF.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the fields are never read; what they stand for is the kernel's.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    pub const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// The task's value, if it has one.
    #[inline(always)]
    pub fn get(&self, task: *mut task_struct) -> Option<NonNull<T>> {
        self.find(task, 0)
    }

    /// The task's value, which begins as zeros; `None` if the kernel has no memory for it now.
    #[inline(always)]
    pub fn get_or_make(&self, task: *mut task_struct) -> Option<NonNull<T>> {
        self.find(task, u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn find(&self, task: *mut task_struct, flags: u64) -> Option<NonNull<T>> {
        let map: *mut c_void = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the map is one of task storage, and the verifier knows the task as such.
        NonNull::new(unsafe { bpf_task_storage_get(map, task, ptr::null_mut(), flags) }.cast())
    }
}
