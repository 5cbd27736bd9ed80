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
        let (owner, other) = (mirror.owner(), Owner::of(&addr).as_ptr());
        let invalidation = |owner| -> Result<(bool, Option<Event>)> {
            let event = bindings::mmu_notifier_event_MMU_NOTIFY_MIGRATE;
            drop(InvalidationInProgress::new(
                pages(addr, 0, 1)?,
                event,
                owner,
            ));
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            Ok((table.own, table.event))
        };
        let (by_owner, by_other, by_nobody) = (
            invalidation(owner),
            invalidation(other),
            invalidation(ptr::null_mut()),
        );

        assert!(!owner.is_null());
        assert_eq!(by_owner, Ok((true, Some(Event::Migrate))));
        assert_eq!(by_other, Ok((false, Some(Event::Migrate))));
        assert_eq!(by_nobody, Ok((false, Some(Event::Migrate))));
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
            unsafe {
                (
                    (*owned).range.dev_private_owner,
                    (*plain).range.dev_private_owner,
                )
            }
        };

        assert_eq!(owners, (owned.owner(), ptr::null_mut()));
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
