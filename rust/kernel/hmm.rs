// SPDX-License-Identifier: GPL-2.0

//! HMM mirroring: a device's page table kept in step with a process's.
//!
//! A device with a page table of its own, such as a GPU or a NIC, uses the memory of a process in
//! place. The driver implements [`MirrorOps`] for its device and makes a [`Mirror`] of an address
//! space. From then on, until the [`Mirror`] is dropped:
//!
//! - before the CPU page table changes, [`MirrorOps::invalidate`] gets the device's page table,
//!   locked, and takes out what is about to change;
//! - when the device needs a page, the driver puts a [`MirrorRange`] in flight, [reads] the CPU
//!   page table through it, and [commits] what was read to the device's page table.
//!
//! The device's page table lives in the [`Mirror`], behind the one lock that both sides take, so
//! the wrong lock cannot be taken and none can be forgotten. What was read has no accessors before
//! it is committed, and committing it checks, under that lock, that no invalidation came in
//! between.
//!
//! The registry behind this is the one that C drivers use too; there is no second one here.
//!
//! # Examples
//!
//! A device whose page table has room for one page:
//!
//! ```
//! use kernel::{
//!     hmm::{self, Access, Mirror, MirrorOps, MirrorRange, Pfns, Update},
//!     mm::MmWithUser,
//!     new_mirror,
//!     page::PAGE_SIZE,
//!     prelude::*,
//!     sync::lock::spinlock::SpinLockBackend,
//! };
//!
//! struct OnePage;
//!
//! struct Entry {
//!     addr: usize,
//!     pfn: usize,
//! }
//!
//! #[vtable]
//! impl MirrorOps for OnePage {
//!     type PageTable = Option<Entry>;
//!     type Lock = SpinLockBackend;
//!
//!     fn invalidate(table: &mut Option<Entry>, update: &Update<'_>) {
//!         if table.as_ref().is_some_and(|e| update.range().contains(&e.addr)) {
//!             *table = None;
//!             // A real device's TLB is flushed here.
//!         }
//!     }
//! }
//!
//! fn mirror(mm: &MmWithUser) -> Result<Pin<KBox<Mirror<OnePage>>>> {
//!     KBox::pin_init(new_mirror!(mm, None), GFP_KERNEL)
//! }
//!
//! fn device_page_fault(mirror: &Mirror<OnePage>, addr: usize) -> Result {
//!     let mut pfns = Pfns::new(1, GFP_KERNEL)?;
//!
//!     mirror.map(addr..addr + PAGE_SIZE, &mut pfns, Access::Write, |table, pages| {
//!         for page in pages {
//!             *table = Some(Entry { addr: page.addr(), pfn: page.pfn() });
//!         }
//!     })
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! C header: [`include/linux/hmm.h`](srctree/include/linux/hmm.h)
//!
//! [reads]: MirrorRange::fault
//! [commits]: Faulted::commit

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    mm::MmWithUser,
    page::{
        PAGE_MASK,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        lock::{
            mutex::MutexBackend,
            spinlock::SpinLockBackend,
            Backend,
            Guard,
            Lock, //
        },
        LockClassKey, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    types::Opaque,
};
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut,
        Range, //
    },
    ptr::NonNull,
};

mod frame;
use frame::FrameStamps;
pub use frame::{
    Frame,
    StaleFrame, //
};

#[cfg(CONFIG_HMM_MIRROR_RUST_KUNIT_TEST)]
mod tests;

/// How long [`Mirror::map`] tries, as a fault in C does by default.
const MAP_TIMEOUT: Delta = Delta::from_millis(bindings::HMM_RANGE_DEFAULT_TIMEOUT as i64);

/// The lock that protects a device's page table.
///
/// It says whether the callbacks of a mirror may sleep, so there is no flag to get wrong: under a
/// [`SpinLockBackend`] they do not, and the OOM reaper and `process_mrelease(2)` can free the
/// process's memory. Under a [`MutexBackend`] they may, and both of them get `EAGAIN` for as long
/// as the mirror exists.
///
/// Memory must not be allocated with [`GFP_KERNEL`] under either: reclaim may need the lock.
pub trait MirrorLock: Backend + private::Sealed {
    /// Whether callbacks under this lock are forbidden to sleep.
    const ATOMIC: bool;
}

impl MirrorLock for SpinLockBackend {
    const ATOMIC: bool = true;
}

impl MirrorLock for MutexBackend {
    const ATOMIC: bool = false;
}

mod private {
    pub trait Sealed {}
    impl Sealed for super::SpinLockBackend {}
    impl Sealed for super::MutexBackend {}
}

/// A device that mirrors address spaces.
///
/// The callbacks run in process context inside whatever changes the CPU page table, with the lock
/// of the page table held, so they should be quick. They are given no way to fail, to reach their
/// [`Mirror`], or to keep what they get.
#[vtable]
pub trait MirrorOps: Sized + 'static {
    /// The page table of the device.
    type PageTable: Send + Unpin + 'static;

    /// The lock that protects it.
    type Lock: MirrorLock;

    /// Whether the "device" is this CPU, and follows its page table by [`Frame`]s.
    ///
    /// That is for emulated devices. It costs 4 KiB for each mirror, and a little for each update.
    const CPU_ACCESS: bool = false;

    /// The CPU page table is about to change.
    ///
    /// When this returns, the device must not use what `table` said about
    /// [`update.range()`](Update::range) any more: the entries are taken out and the device's TLB
    /// is flushed.
    fn invalidate(table: &mut Self::PageTable, update: &Update<'_>);

    /// The address space is going away.
    ///
    /// Called at most once, after everything was invalidated and before the first page is freed.
    /// From here on every fault fails with [`ESRCH`].
    fn release(_table: &mut Self::PageTable) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// Why the CPU page table changes.
///
/// See `enum mmu_notifier_event` in
/// [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `munmap(2)`, or `mremap(2)` that moves.
    Unmap,
    /// Entries are cleared, for one of many reasons: `madvise(2)`, copy-on-write, reclaim.
    Clear,
    /// The protection of a mapping changes, as `mprotect(2)` does.
    ProtectionVma,
    /// The protection of single pages changes.
    ProtectionPage,
    /// Soft-dirty accounting: same page, same permissions.
    SoftDirty,
    /// The whole address space goes away.
    Release,
    /// Pages migrate to or from device memory.
    Migrate,
    /// Pages become exclusive to a device.
    Exclusive,
}

impl Event {
    fn from_raw(event: bindings::mmu_notifier_event) -> Self {
        match event {
            bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP => Event::Unmap,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_VMA => Event::ProtectionVma,
            bindings::mmu_notifier_event_MMU_NOTIFY_PROTECTION_PAGE => Event::ProtectionPage,
            bindings::mmu_notifier_event_MMU_NOTIFY_SOFT_DIRTY => Event::SoftDirty,
            bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE => Event::Release,
            bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE => Event::Migrate,
            bindings::mmu_notifier_event_MMU_NOTIFY_EXCLUSIVE => Event::Exclusive,
            // `Clear` promises nothing but that the entries go.
            _ => Event::Clear,
        }
    }
}

/// One update of the CPU page table, as [`MirrorOps::invalidate`] gets it.
pub struct Update<'u> {
    raw: &'u bindings::hmm_update,
    // Makes `'u` invariant, so that nothing made for one update passes for another's.
    _invariant: PhantomData<fn(&'u ()) -> &'u ()>,
}

impl Update<'_> {
    /// The addresses that change, in bytes, page aligned; everything is `0..usize::MAX`.
    #[inline]
    pub fn range(&self) -> Range<usize> {
        self.raw.start..self.raw.end
    }

    /// Why they change.
    #[inline]
    pub fn event(&self) -> Event {
        Event::from_raw(self.raw.event)
    }

    /// Whether the task that changes the CPU page table may sleep.
    ///
    /// What the callback may do depends on its lock, not on this.
    #[inline]
    pub fn blockable(&self) -> bool {
        self.raw.blockable
    }
}

/// What a device page fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Pages are faulted in, so that they can be read.
    Read,
    /// Pages are faulted in, so that they can be written.
    Write,
    /// A snapshot: nothing is faulted in, and pages that the CPU has no entry for are left out.
    Present,
}

impl Access {
    fn request(self) -> usize {
        match self {
            Access::Read => bindings::hmm_pfn_flags_HMM_PFN_REQ_FAULT,
            Access::Write => {
                bindings::hmm_pfn_flags_HMM_PFN_REQ_FAULT
                    | bindings::hmm_pfn_flags_HMM_PFN_REQ_WRITE
            }
            Access::Present => 0,
        }
    }
}

/// What the CPU page table says about a page that is there: a frame number, and flags.
#[derive(Clone, Copy)]
struct HmmPfn(c_ulong);

impl HmmPfn {
    #[inline]
    fn pfn(self) -> usize {
        self.0 & !bindings::hmm_pfn_flags_HMM_PFN_FLAGS
    }

    #[inline]
    fn writable(self) -> bool {
        self.0 & bindings::hmm_pfn_flags_HMM_PFN_WRITE != 0
    }

    #[inline]
    fn order(self) -> u32 {
        // SAFETY: Has no requirements.
        unsafe { bindings::hmm_pfn_to_map_order(self.0) }
    }
}

/// Room for what is read from the CPU page table: one entry per page.
pub struct Pfns(KVVec<c_ulong>);

impl Pfns {
    /// Makes room for ranges of up to `pages` pages.
    pub fn new(pages: usize, flags: crate::alloc::Flags) -> Result<Self> {
        Ok(Self(KVVec::from_elem(0, pages, flags)?))
    }

    /// How many pages there is room for.
    #[inline]
    pub fn pages(&self) -> usize {
        self.0.len()
    }
}

/// What the lock of a [`Mirror`] protects.
struct Locked<T: MirrorOps> {
    table: T::PageTable,
    stamps: FrameStamps,
}

/// A mirror of one address space by one device.
///
/// Dropping it unregisters it, and waits for callbacks that run. It may be dropped at any time,
/// also when the process is long gone. A device's remaining entries are no longer kept in step
/// then: a driver takes them out in the [`Drop`] of its page table, which comes right after, and
/// which must stop the device's accesses *before* the pages can change, so it should rather have
/// emptied the table under [`lock`](Mirror::lock) already.
///
/// # Invariants
///
/// `raw` is registered with the registry, with the callbacks of [`Callbacks<T>`], from the end of
/// initialisation until `self` is dropped.
#[pin_data(PinnedDrop)]
pub struct Mirror<T: MirrorOps> {
    #[pin]
    raw: Opaque<bindings::hmm_mirror>,
    #[pin]
    locked: Lock<Locked<T>, T::Lock>,
    end_address: usize,
}

// SAFETY: `raw` may be used and unregistered from any thread, and `locked` is a lock of data that
// is `Send`.
unsafe impl<T: MirrorOps> Send for Mirror<T> {}
// SAFETY: All methods that take `&self` may be called in parallel: the registry and the lock
// synchronise them.
unsafe impl<T: MirrorOps> Sync for Mirror<T> {}

/// Creates a [`Mirror`] initialiser with a newly created lock class.
///
/// Takes the address space and the device's empty page table (or its initialiser), and optionally
/// a name for the lock class. See [`Mirror::new`].
#[macro_export]
macro_rules! new_mirror {
    ($mm:expr, $table:expr $(, $name:literal)? $(,)?) => {
        $crate::hmm::Mirror::new(
            $mm, $table, $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
pub use new_mirror;

impl<T: MirrorOps> Mirror<T> {
    /// Starts to mirror `mm`.
    ///
    /// `table` is the device's page table, without entries. Usually called through
    /// [`new_mirror!`]. Sleeps, and takes the mmap lock of `mm`.
    ///
    /// # Errors
    ///
    /// - [`ENOMEM`]: out of memory.
    /// - [`EINTR`]: a signal came.
    pub fn new<'a>(
        mm: &'a MmWithUser,
        table: T::PageTable,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, Error> + 'a {
        try_pin_init!(&this in Self {
            raw <- Opaque::ffi_init(|slot: *mut bindings::hmm_mirror| {
                let raw = bindings::hmm_mirror {
                    ops: &Callbacks::<T>::OPS,
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
            }),
            locked <- Lock::new(
                Locked {
                    table,
                    stamps: FrameStamps::new(T::CPU_ACCESS)?,
                },
                name,
                key,
            ),
            // SAFETY: `mm` is valid, and this does not change.
            end_address: unsafe { (*mm.as_raw()).__bindgen_anon_1.task_size },
            // Registered last: callbacks may come before this is over.
            _: {
                // SAFETY: `mm` has users, so its mmap lock is there.
                to_result(unsafe { bindings::mmap_write_lock_killable(mm.as_raw()) })?;
                // SAFETY: `this` is valid, pinned, and all of its fields are initialised. It stays
                // so until its destructor has unregistered the mirror. `mm` has users for `'a`,
                // and we hold its mmap lock for write.
                let ret = unsafe {
                    bindings::hmm_mirror_register(
                        Opaque::cast_into(&raw const (*this.as_ptr()).raw),
                        mm.as_raw(),
                    )
                };
                // SAFETY: We took this lock above.
                unsafe { bindings::mmap_write_unlock(mm.as_raw()) };
                // INVARIANT: On success the mirror is registered.
                to_result(ret)?;
            },
        })
    }

    /// The first address that the address space has no room for, in bytes.
    #[inline]
    pub fn end_address(&self) -> usize {
        self.end_address
    }

    /// Locks the device's page table.
    ///
    /// While the guard is held, no update of the CPU page table that needs this mirror gets
    /// through, so nothing may be waited for that such an update could hold up: a fault of the
    /// process, memory allocated with [`GFP_KERNEL`], or its mmap lock.
    #[inline]
    pub fn lock(&self) -> TableGuard<'_, T> {
        TableGuard(self.locked.lock())
    }

    /// Prepares a range to be faulted in.
    ///
    /// `range` is in bytes and page aligned, and `pfns` has room for its pages. The initialiser
    /// puts the range in flight: updates that hit it are noted until it is dropped. It does not
    /// sleep.
    ///
    /// # Errors
    ///
    /// - [`EINVAL`]: the range is empty, not page aligned, above the address space, or larger than
    ///   `pfns`.
    /// - [`ESRCH`]: the address space is dead.
    pub fn range<'m>(
        &'m self,
        range: Range<usize>,
        pfns: &'m mut Pfns,
    ) -> impl PinInit<MirrorRange<'m, T>, Error> + 'm {
        let pages = range.end.saturating_sub(range.start) >> PAGE_SHIFT;
        let fits = pages <= pfns.pages();
        let raw = bindings::hmm_mirror_range {
            range: bindings::hmm_range {
                start: range.start,
                end: range.end,
                hmm_pfns: pfns.0.as_mut_ptr(),
                ..pin_init::zeroed()
            },
            ..pin_init::zeroed()
        };

        try_pin_init!(MirrorRange {
            mirror: self,
            _pfns: PhantomData,
            raw <- Opaque::try_ffi_init(move |slot: *mut bindings::hmm_mirror_range| {
                if !fits {
                    return Err(EINVAL);
                }
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(raw) };
                // SAFETY: `slot` is initialised, pinned, and stays so until the range is ended
                // when it is dropped; `self` is registered by its type invariants.
                to_result(unsafe { bindings::hmm_mirror_range_begin(slot, self.raw.get()) })
            }),
        })
    }

    /// Faults a range in and commits it, again and again while it collides with updates, for up to
    /// a second.
    ///
    /// `commit` gets the device's page table, locked, and the pages. It is called once, or not at
    /// all where this fails.
    ///
    /// Sleeps. See [`Mirror::lock`] for what must not be held.
    ///
    /// # Errors
    ///
    /// Those of [`Mirror::range`] and [`MirrorRange::fault`].
    pub fn map<R>(
        &self,
        range: Range<usize>,
        pfns: &mut Pfns,
        access: Access,
        commit: impl FnOnce(&mut T::PageTable, Pages<'_, T>) -> R,
    ) -> Result<R> {
        let begun = Instant::<Monotonic>::now();
        let mut commit = Some(commit);

        pin_init::stack_try_pin_init!(let range: MirrorRange<'_, T> =? self.range(range, pfns));
        loop {
            let done = range.as_mut().fault(access)?.commit(|table, pages| {
                // `commit` is called once: the loop ends with it.
                commit.take().map(|commit| commit(table, pages))
            });
            match done {
                Ok(Some(done)) => return Ok(done),
                _ if begun.elapsed() > MAP_TIMEOUT => return Err(EBUSY),
                _ => (),
            }
        }
    }
}

#[pinned_drop]
impl<T: MirrorOps> PinnedDrop for Mirror<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the mirror is registered. No range is in flight, as each
        // borrows the mirror until it is ended; one that was leaked is taken out by this call. No
        // callback runs when this returns, so the fields may be dropped then.
        unsafe { bindings::hmm_mirror_unregister(self.raw.get()) };
    }
}

/// The C callbacks of a mirror of a `T`.
struct Callbacks<T: MirrorOps>(PhantomData<T>);

impl<T: MirrorOps> Callbacks<T> {
    const OPS: bindings::hmm_mirror_ops = bindings::hmm_mirror_ops {
        invalidate: Some(Self::invalidate),
        release: if T::HAS_RELEASE {
            Some(Self::release)
        } else {
            None
        },
        flags: if T::Lock::ATOMIC {
            bindings::hmm_mirror_flags_HMM_MIRROR_ATOMIC
        } else {
            0
        },
        sync_cpu_device_pagetables: None,
        invalidate_start: None,
        invalidate_finish: None,
    };

    /// # Safety
    ///
    /// `mirror` is the `raw` of a `Mirror<T>` that is registered for as long as this runs.
    unsafe fn mirror<'a>(mirror: *mut bindings::hmm_mirror) -> &'a Mirror<T> {
        // SAFETY: By the requirement, this is inside of a `Mirror<T>`, which is initialised, and
        // not dropped before the callback is over.
        unsafe { &*crate::container_of!(Opaque::cast_from(mirror), Mirror<T>, raw) }
    }

    /// # Safety
    ///
    /// Only to be called by the registry, for a mirror that was registered with [`Self::OPS`].
    unsafe extern "C" fn invalidate(
        mirror: *mut bindings::hmm_mirror,
        update: *const bindings::hmm_update,
    ) {
        // SAFETY: The registry calls this for mirrors that are registered with `Self::OPS`.
        let mirror = unsafe { Self::mirror(mirror) };
        let update = Update {
            // SAFETY: `update` is valid for the duration of the call.
            raw: unsafe { &*update },
            _invariant: PhantomData,
        };
        let mut locked = mirror.locked.lock();

        locked.stamps.invalidate(update.range());
        T::invalidate(&mut locked.table, &update);
    }

    /// # Safety
    ///
    /// As for [`Self::invalidate`].
    unsafe extern "C" fn release(mirror: *mut bindings::hmm_mirror) {
        // SAFETY: The registry calls this for mirrors that are registered with `Self::OPS`.
        let mirror = unsafe { Self::mirror(mirror) };

        T::release(&mut mirror.locked.lock().table);
    }
}

/// The device's page table, locked. See [`Mirror::lock`].
pub struct TableGuard<'a, T: MirrorOps>(Guard<'a, Locked<T>, T::Lock>);

impl<T: MirrorOps> TableGuard<'_, T> {
    /// Reads from a page of the process, as the device, by way of an entry of its page table.
    ///
    /// `offset` is in bytes from the start of the page. Stops at the end of the page, and returns
    /// how many bytes were read. What the process writes meanwhile may be read in part.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`]: the page may have gone since the frame was made. Make a new one by a fault.
    pub fn read(
        &self,
        frame: &Frame,
        offset: usize,
        to: &mut [u8],
    ) -> core::result::Result<usize, StaleFrame> {
        self.0.stamps.read(frame, offset, to)
    }

    /// Writes to a page of the process, as the device, by way of an entry of its page table.
    ///
    /// `offset` is in bytes from the start of the page. Stops at the end of the page, and returns
    /// how many bytes were written.
    ///
    /// # Errors
    ///
    /// [`StaleFrame`]: the page may have gone, or become read-only, since the frame was made, or
    /// the frame was never writable. Make a new one by a fault.
    pub fn write(
        &self,
        frame: &Frame,
        offset: usize,
        from: &[u8],
    ) -> core::result::Result<usize, StaleFrame> {
        self.0.stamps.write(frame, offset, from)
    }
}

impl<T: MirrorOps> Deref for TableGuard<'_, T> {
    type Target = T::PageTable;

    #[inline]
    fn deref(&self) -> &T::PageTable {
        &self.0.table
    }
}

impl<T: MirrorOps> DerefMut for TableGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T::PageTable {
        &mut self.0.table
    }
}

/// A range of addresses in flight: updates that hit it are noted, others are not.
///
/// It may be kept for one fault or for longer, and be faulted in again.
///
/// # Invariants
///
/// `raw` is in flight for `mirror`, and its pfn array has room for its pages and is borrowed for
/// `'m`.
#[pin_data(PinnedDrop)]
pub struct MirrorRange<'m, T: MirrorOps> {
    mirror: &'m Mirror<T>,
    _pfns: PhantomData<&'m mut Pfns>,
    #[pin]
    raw: Opaque<bindings::hmm_mirror_range>,
}

impl<'m, T: MirrorOps> MirrorRange<'m, T> {
    /// Reads the CPU page table, and faults in what is missing.
    ///
    /// Waits while the range is being updated. What comes back can only be
    /// [committed](Faulted::commit).
    ///
    /// Sleeps. See [`Mirror::lock`] for what must not be held.
    ///
    /// # Errors
    ///
    /// - [`EFAULT`]: a page has no mapping, or may not be read.
    /// - [`EPERM`]: a page may not be written.
    /// - [`ESRCH`]: the address space is dead.
    /// - [`EBUSY`]: the range was updated again and again for a second.
    /// - [`EINTR`]: a fatal signal is pending.
    /// - [`ENOMEM`]: out of memory.
    pub fn fault(self: Pin<&mut Self>, access: Access) -> Result<Faulted<'_, 'm, T>> {
        let raw = self.raw.get();

        // SAFETY: By the type invariants `raw` is valid and in flight; by `&mut` nobody else uses
        // it but the registry, which does not touch this field.
        unsafe { (*raw).range.default_flags = access.request() };
        // SAFETY: As above, and the pfn array is ours for `'m`.
        to_result(unsafe { bindings::hmm_mirror_range_fault(raw, 0) })?;
        Ok(Faulted { range: self })
    }
}

#[pinned_drop]
impl<T: MirrorOps> PinnedDrop for MirrorRange<'_, T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the range is in flight.
        unsafe { bindings::hmm_mirror_range_end(self.raw.get()) };
    }
}

/// What was read from the CPU page table, and may be out of date already.
///
/// There is nothing to see in here. [`Faulted::commit`] shows it, if it is still true.
#[must_use = "what was read is of use only when it is committed"]
pub struct Faulted<'r, 'm, T: MirrorOps> {
    range: Pin<&'r mut MirrorRange<'m, T>>,
}

/// The CPU page table was updated after it was read: [fault](MirrorRange::fault) again.
#[derive(Debug, PartialEq, Eq)]
pub struct Stale;

impl<T: MirrorOps> Faulted<'_, '_, T> {
    /// Gives what was read to the device, if it is still true.
    ///
    /// Locks the device's page table, and calls `f` with it and the pages. The pages stay what
    /// they are, and where they are, until `f` returns; after that for as long as `f`'s entries
    /// are in the page table and [`MirrorOps::invalidate`] has not been called for them.
    ///
    /// # Errors
    ///
    /// [`Stale`]: an update came in between. `f` was not called.
    pub fn commit<R>(
        self,
        f: impl FnOnce(&mut T::PageTable, Pages<'_, T>) -> R,
    ) -> core::result::Result<R, Stale> {
        let mut guard = self.range.mirror.locked.lock();
        let locked = &mut *guard;
        let raw = self.range.raw.get();

        // SAFETY: `raw` is valid by the type invariants of `MirrorRange`, was faulted, and we hold
        // the lock that the callback takes.
        if !unsafe { bindings::hmm_mirror_range_valid(raw) } {
            return Err(Stale);
        }
        // SAFETY: `raw` is valid by the type invariants of `MirrorRange`, and nobody changes what
        // is read here while we hold `self`.
        let range = unsafe { &(*raw).range };
        let pages = Pages {
            // SAFETY: By the type invariants of `MirrorRange`, the array has room for all pages of
            // the range, and it is not written to while we hold `self`.
            pfns: unsafe {
                core::slice::from_raw_parts(range.hmm_pfns, (range.end - range.start) >> PAGE_SHIFT)
            },
            addr: range.start,
            stamps: &locked.stamps,
            _device: PhantomData,
        };
        Ok(f(&mut locked.table, pages))
    }
}

/// The pages of a range that are there, in address order. See [`Faulted::commit`].
pub struct Pages<'p, T: MirrorOps> {
    pfns: &'p [c_ulong],
    addr: usize,
    stamps: &'p FrameStamps,
    _device: PhantomData<fn() -> T>,
}

impl<'p, T: MirrorOps> Iterator for Pages<'p, T> {
    type Item = Page<'p, T>;

    fn next(&mut self) -> Option<Page<'p, T>> {
        while let Some((&pfn, rest)) = self.pfns.split_first() {
            let addr = self.addr;

            self.pfns = rest;
            self.addr = addr.wrapping_add(PAGE_SIZE);
            if pfn & bindings::hmm_pfn_flags_HMM_PFN_VALID != 0 {
                return Some(Page {
                    pfn: HmmPfn(pfn),
                    addr,
                    stamps: self.stamps,
                    _device: PhantomData,
                });
            }
        }
        None
    }
}

/// A page of the process, lent for as long as a commit lasts.
pub struct Page<'p, T: MirrorOps> {
    pfn: HmmPfn,
    addr: usize,
    stamps: &'p FrameStamps,
    _device: PhantomData<fn() -> T>,
}

impl<T: MirrorOps> Page<'_, T> {
    /// Its address in the process, in bytes.
    #[inline]
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Its page frame number: what a device's entry is made of.
    #[inline]
    pub fn pfn(&self) -> usize {
        self.pfn.pfn()
    }

    /// Whether the device may write it.
    #[inline]
    pub fn writable(&self) -> bool {
        self.pfn.writable()
    }

    /// The size of the CPU's mapping that it is part of: the logarithm to base 2 of its pages.
    ///
    /// Such a mapping is aligned to its size, in the process and in memory, and may extend beyond
    /// the range that was faulted.
    #[inline]
    pub fn order(&self) -> u32 {
        self.pfn.order()
    }

    /// An entry for an emulated device's page table.
    ///
    /// Only for devices with [`MirrorOps::CPU_ACCESS`].
    #[inline]
    pub fn frame(&self) -> Frame {
        build_assert!(T::CPU_ACCESS);
        // SAFETY: A commit is going on, so the page is what the CPU page table says about `addr`,
        // and the lock of `stamps` is held.
        unsafe { self.stamps.frame(self.addr, self.pfn) }
    }
}

/// Gets the address space of the process behind a pidfd.
///
/// `pidfd` is a file descriptor of the calling process, see `pidfd_open(2)`. The caller needs the
/// permission that `PTRACE_ATTACH` needs. Dropping the result may tear the address space down, if
/// the process has exited meanwhile, and so may sleep.
///
/// # Errors
///
/// - [`EBADF`]: not a pidfd.
/// - [`ESRCH`]: the process is gone, or has no address space.
/// - [`EACCES`]: not permitted.
/// - [`EINTR`]: a fatal signal is pending.
pub fn mm_from_pidfd(pidfd: i32) -> Result<ARef<MmWithUser>> {
    // SAFETY: Has no requirements but process context, as all safe functions that may sleep.
    let mm = from_err_ptr(unsafe { bindings::hmm_mirror_get_mm(pidfd) })?;

    // SAFETY: On success this is a valid pointer, with a reference to the users of the address
    // space that is given to us. `MmWithUser` is a transparent wrapper.
    Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(mm.cast())) })
}
