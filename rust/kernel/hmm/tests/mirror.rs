// SPDX-License-Identifier: GPL-2.0

//! Tests of mirrors and their callbacks.

use super::*;

#[kunit_tests(rust_kernel_hmm_mirror)]
mod suite {
    use super::*;

    #[test]
    fn munmap_is_reported_and_takes_entries_out() -> Result {
        attach_mm()?;
        let addr = mmap(4, true)?;
        let mirror = mirror!(Device)?;

        map(&mirror, pages(addr, 0, 4)?, Write)?;
        let second = pages(addr, 1, 1)?;
        munmap(second)?;
        let mut faulter = mirror.faulter();
        let table = faulter.lock();
        let (left, last, event, blockable) = (
            table.entries.len(),
            table.last,
            table.event,
            table.blockable,
        );
        drop(table);

        assert_eq!(left, 3);
        assert!(last.is_some_and(|last| last.overlaps(&second)));
        assert_eq!(event, Some(Event::Unmap));
        assert!(blockable);
        Ok(())
    }

    #[test]
    fn nothing_comes_after_drop() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Device)?;
        let calls = mirror.faulter().lock().calls.clone();

        put_user(addr, &[1])?;
        put_user(addr + PAGE_SIZE, &[1])?;
        munmap(pages(addr, 0, 1)?)?;
        let before = calls.invalidate.load(Relaxed);
        drop(mirror);
        let dropped = calls.invalidate.load(Relaxed);
        munmap(pages(addr, 1, 1)?)?;

        assert!(before > 0);
        // Dropping takes out all that there is.
        assert_eq!(dropped, before + 1);
        assert_eq!(calls.invalidate.load(Relaxed), dropped);
        assert_eq!(calls.release.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn two_mirrors_of_one_process() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (spin, mutex) = (mirror!(Device)?, mirror!(Forgetful)?);

        map(&spin, pages(addr, 0, 1)?, Write)?;
        map(&mutex, pages(addr, 0, 1)?, Write)?;
        munmap(pages(addr, 0, 1)?)?;
        let told = |table: &Table| table.calls.invalidate.load(Relaxed) > 0;
        let spin_told = told(&spin.faulter().lock());
        let mutex_told = told(&mutex.faulter().lock());

        assert!(spin_told && mutex_told);
        Ok(())
    }

    #[test]
    fn drop_leaves_nothing_to_the_device() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (mirror, forgetful) = (mirror!(Device)?, mirror!(Forgetful)?);
        let calls = mirror.faulter().lock().calls.clone();
        let forgotten = forgetful.faulter().lock().calls.clone();

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        map(&forgetful, pages(addr, 0, 1)?, Write)?;
        drop((mirror, forgetful));

        assert_eq!(calls.left.load(Relaxed), 0);
        assert_eq!(forgotten.left.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn two_passes() -> Result {
        attach_mm()?;
        let addr = mmap(3, true)?;
        let mirror = mirror!(TwoPasses)?;
        let calls = mirror.faulter().lock().calls.clone();

        for page in 0..3 {
            put_user(addr + page * PAGE_SIZE, &[1])?;
        }
        let before = calls.start.load(Relaxed);
        munmap(pages(addr, 0, 2)?)?;
        let (two, waited) = (
            calls.start.load(Relaxed),
            mirror.ops().flushes.load(Relaxed),
        );
        munmap(pages(addr, 2, 1)?)?;
        let (one, not) = (
            calls.start.load(Relaxed),
            mirror.ops().flushes.load(Relaxed),
        );
        drop(mirror);

        assert!(two > before);
        assert_eq!(waited, two);
        assert!(one > two);
        assert_eq!(not, two);
        assert_eq!(calls.start.load(Relaxed), one + 1);
        Ok(())
    }

    #[test]
    fn owner_knows_its_own_invalidations() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(TwoPasses)?;
        let (owner, other) = (mirror.owner(), Owner::of(&OWNERS[1]).as_ptr());
        let invalidation_by = |owner, event| -> Result<(bool, Option<Event>)> {
            drop(InvalidationInProgress::new(
                pages(addr, 0, 1)?,
                event,
                owner,
            ));
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            Ok((table.own, table.event))
        };
        let invalidation =
            |owner| invalidation_by(owner, bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE);
        let (by_owner, by_other, by_nobody) = (
            invalidation(owner),
            invalidation(other),
            invalidation(ptr::null_mut()),
        );
        // The owner is left over from something else.
        let garbage = invalidation_by(owner, bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR);

        assert!(!owner.is_null());
        assert_eq!(by_owner, Ok((true, Some(Event::Migrate))));
        assert_eq!(by_other, Ok((false, Some(Event::Migrate))));
        assert_eq!(by_nobody, Ok((false, Some(Event::Migrate))));
        assert_eq!(garbage, Ok((false, Some(Event::Clear))));
        Ok(())
    }

    #[test]
    fn owner_is_told_to_the_reader() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (owned, plain) = (mirror!(TwoPasses)?, mirror!(Device)?);
        let (mut one, mut other) = (
            FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?,
            FaultBuffer::new(PageCount::ONE, GFP_KERNEL)?,
        );
        let (mut owned_faulter, mut plain_faulter) = (owned.faulter(), plain.faulter());
        let owners = {
            pin_init::stack_try_pin_init!(
                let owned: FaultRange<'_, TwoPasses> =?
                    owned_faulter.range(pages(addr, 0, 1)?, &mut one)
            );
            pin_init::stack_try_pin_init!(
                let plain: FaultRange<'_, Device> =?
                    plain_faulter.range(pages(addr, 0, 1)?, &mut other)
            );
            let (owned, plain) = (owned.raw.get(), plain.raw.get());
            // SAFETY: Both are in flight.
            unsafe { ((*owned).owner, (*plain).owner) }
        };

        assert_eq!(owners, (owned.owner(), ptr::null_mut()));
        Ok(())
    }

    #[test]
    fn what_must_not_block_is_refused_under_a_mutex() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (one, two) = (mirror!(Forgetful)?, mirror!(TwoPasses)?);
        let (one_calls, two_calls) = (
            one.faulter().lock().calls.clone(),
            two.faulter().lock().calls.clone(),
        );

        // The last one is told first.
        let by_two = InvalidationInProgress::non_blockable(pages(addr, 0, 1)?).map(|_| ());
        drop(two);
        let by_one = InvalidationInProgress::non_blockable(pages(addr, 0, 1)?).map(|_| ());
        let called = (
            two_calls.start.load(Relaxed),
            one_calls.invalidate.load(Relaxed),
            one_calls.end.load(Relaxed),
        );
        drop(one);

        assert_eq!((by_two, by_one), (Err(EAGAIN), Err(EAGAIN)));
        // The one that was dropped was invalidated for that.
        assert_eq!(called, (1, 0, 0));
        Ok(())
    }

    #[test]
    fn what_must_not_block_is_done_under_a_spinlock() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (one, two) = (mirror!(Device)?, mirror!(AtomicTwoPasses)?);

        map(&one, pages(addr, 0, 1)?, Write)?;
        let done = InvalidationInProgress::non_blockable(pages(addr, 0, 1)?).map(|_| ());
        let mut faulter = one.faulter();
        let table = faulter.lock();
        let seen = (
            table.entries.len(),
            table.blockable,
            table.calls.end.load(Relaxed),
        );
        drop(table);

        assert_eq!(done, Ok(()));
        assert_eq!(seen, (0, false, 1));
        assert_eq!(two.ops().0.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn try_invalidate_decides() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Hasty)?;

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        let done = InvalidationInProgress::non_blockable(pages(addr, 1, 1)?).map(|_| ());
        let after_done = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            (table.blockable, read_first(&table, 0, &mut [0]))
        };
        let refused = InvalidationInProgress::non_blockable(pages(addr, 0, 1)?).map(|_| ());
        let after_refused = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            // A refusal may make frames stale, but takes nothing out of the page table.
            (table.entries.len(), read_first(&table, 0, &mut [0]))
        };
        let (attempts, ends) = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            // The lock is held, so the driver is not asked.
            let busy = InvalidationInProgress::non_blockable(pages(addr, 1, 1)?).map(|_| ());
            let counts = (
                table.calls.attempt.load(Relaxed),
                table.calls.end.load(Relaxed),
                table.calls.invalidate.load(Relaxed),
            );
            (counts, busy)
        };

        assert_eq!(done, Ok(()));
        assert_eq!(after_done, (false, Ok(1)));
        assert_eq!(refused, Err(EAGAIN));
        assert_eq!(after_refused, (1, Err(StaleFrame)));
        assert_eq!((attempts, ends), ((2, 0, 0), Err(EAGAIN)));
        Ok(())
    }

    #[test]
    fn try_invalidate_takes_the_place_of_both_passes() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(HastyTwoPasses)?;
        let calls = mirror.faulter().lock().calls.clone();
        let counts = || {
            (
                calls.attempt.load(Relaxed),
                calls.start.load(Relaxed),
                calls.end.load(Relaxed),
            )
        };

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        let before = counts();
        let done = InvalidationInProgress::non_blockable(pages(addr, 1, 1)?).map(|_| ());
        let refused = InvalidationInProgress::non_blockable(pages(addr, 0, 1)?).map(|_| ());
        let hasty = counts();
        munmap(pages(addr, 0, 1)?)?;
        let patient = counts();

        assert_eq!((done, refused), (Ok(()), Err(EAGAIN)));
        assert_eq!(hasty, (before.0 + 2, before.1, before.2));
        assert_eq!(patient, (hasty.0, hasty.1 + 1, hasty.2 + 1));
        Ok(())
    }

    #[test]
    fn end_comes_after_the_change() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (spin, mutex) = (mirror!(Device)?, mirror!(Forgetful)?);
        // One after the other: each locks its table until the end of the statement.
        let of_spin = spin.faulter().lock().calls.clone();
        let of_mutex = mutex.faulter().lock().calls.clone();
        let calls = [of_spin, of_mutex];
        let count = |calls: &Calls| (calls.invalidate.load(Relaxed), calls.end.load(Relaxed));
        let event = bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR;
        let invalidation = InvalidationInProgress::new(pages(addr, 0, 1)?, event, ptr::null_mut());
        let during = (count(&calls[0]), count(&calls[1]));
        drop(invalidation);
        let after = (count(&calls[0]), count(&calls[1]));
        drop((spin, mutex));

        assert_eq!(during, ((1, 0), (1, 0)));
        assert_eq!(after, ((1, 1), (1, 1)));
        // There is no end of what a mirror does as it is dropped.
        assert_eq!((count(&calls[0]), count(&calls[1])), ((2, 1), (2, 1)));
        Ok(())
    }

    #[test]
    fn mirrors_have_names() -> Result {
        attach_mm()?;
        let mirror = mirror!(Hasty)?;
        let ops = mirror.raw.get();
        // SAFETY: The mirror is registered, so `ops` and the name are what it was registered with.
        let name = unsafe { CStr::from_char_ptr((*(*ops).ops).name) };

        assert_eq!(name, c"kunit_hasty");
        assert_eq!(name, Hasty::NAME);
        Ok(())
    }

    #[test]
    fn page_tables_stay_where_they_are() -> Result {
        attach_mm()?;
        let mirror = mirror!(Device)?;
        let inside =
            ptr::from_ref(&*mirror).addr()..ptr::from_ref(&*mirror).addr() + size_of_val(&*mirror);
        let mut faulter = mirror.faulter();
        let mut table = faulter.lock();
        let addr = ptr::from_ref::<Table>(&table.as_mut()).addr();
        let same = addr == ptr::from_ref::<Table>(&table).addr();
        drop(table);

        assert!(same && inside.contains(&addr));
        Ok(())
    }

    #[test]
    fn page_table_that_cannot_be_initialised() -> Result {
        attach_mm()?;
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;
        let table = try_pin_init!(Table {
            calls: Err(ENOSPC)?,
            entries: KVec::new(),
            last: None,
            event: None,
            blockable: false,
            own: false,
            _pinned: PhantomPinned,
        }? Error);
        let failed = KBox::pin_init(new_mirror!(mm, Device, table), GFP_KERNEL).map(|_| ());

        assert_eq!(failed, Err(ENOSPC));
        Ok(())
    }

    #[test]
    fn construction_fails_in_the_middle() -> Result {
        /// A driver's object, which fails after it has a mirror.
        #[pin_data]
        struct Context {
            #[pin]
            mirror: Mirror<Device>,
            rest: (),
        }

        attach_mm()?;
        let addr = mmap(1, true)?;
        let table = Table::new()?;
        let calls = table.calls.clone();
        let task = current!();
        let mm = task.mm().ok_or(ESRCH)?;
        let failed = KBox::pin_init(
            try_pin_init!(Context {
                mirror <- new_mirror!(mm, Device, table),
                rest: Err(ENOSPC)?,
            }? Error),
            GFP_KERNEL,
        );
        let dropped = calls.invalidate.load(Relaxed);
        munmap(pages(addr, 0, 1)?)?;

        assert!(matches!(failed, Err(ENOSPC)));
        assert_eq!(dropped, 1);
        assert_eq!(calls.invalidate.load(Relaxed), dropped);
        Ok(())
    }

    #[test]
    fn bad_pidfds_are_refused() -> Result {
        assert_eq!(MmWithUser::from_pidfd(-1).map(|_| ()), Err(EBADF));
        Ok(())
    }
}
