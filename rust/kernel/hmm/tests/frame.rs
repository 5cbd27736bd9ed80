// SPDX-License-Identifier: GPL-2.0

//! Tests of an emulated device's accesses.

use super::*;

#[kunit_tests(rust_kernel_hmm_frame)]
mod suite {
    use super::*;

    #[test]
    fn device_reads_what_the_process_wrote() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        put_user(addr + 100, b"written by the process")?;

        let mirror = mirror!(Device)?;
        let mut bytes = [0; 22];
        let filled = map(&mirror, pages(addr, 0, 1)?, Read)?;
        let read = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            read_first(&table, 100, &mut bytes)
        };

        assert_eq!(filled, 1);
        assert_eq!(read, Ok(22));
        assert_eq!(&bytes, b"written by the process");
        Ok(())
    }

    #[test]
    fn process_reads_what_the_device_wrote() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        let written = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            write_first(&table, 7, b"by the device")
        };
        let mut bytes = [0; 13];
        get_user(addr + 7, &mut bytes)?;

        assert_eq!(written, Some(Ok(13)));
        assert_eq!(&bytes, b"by the device");
        Ok(())
    }

    #[test]
    fn accesses_stop_at_the_end_of_the_page() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let mirror = mirror!(Device)?;

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        let mut faulter = mirror.faulter();
        let table = faulter.lock();
        let done = (
            read_first(&table, PAGE_SIZE - 2, &mut [0; 4]),
            write_first(&table, PAGE_SIZE - 2, &[0; 4]),
            write_first(&table, PAGE_SIZE, &[0; 4]),
            write_first(&table, usize::MAX, &[0; 4]),
            read_first(&table, usize::MAX, &mut [0; 4]),
        );
        drop(table);

        assert_eq!(done, (Ok(2), Some(Ok(2)), Some(Ok(0)), Some(Ok(0)), Ok(0)));
        Ok(())
    }

    #[test]
    fn forgotten_entries_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(2, true)?;
        let mirror = mirror!(Forgetful)?;

        map(&mirror, pages(addr, 0, 2)?, Write)?;
        munmap(pages(addr, 0, 1)?)?;
        let mut faulter = mirror.faulter();
        let table = faulter.lock();
        let done = (
            read_first(&table, 0, &mut [0]),
            write_first(&table, 0, &[0]),
            table.read(&table.entries[1], 0, &mut [0]),
        );
        drop(table);

        assert_eq!(done, (Err(StaleFrame), Some(Err(StaleFrame)), Ok(1)));
        Ok(())
    }

    #[test]
    fn forgotten_entries_are_refused_after_large_invalidations() -> Result {
        attach_mm()?;
        let addr = mmap(1024, true)?;
        let mirror = mirror!(Forgetful)?;

        map(&mirror, pages(addr, 0, 1)?, Write)?;
        // Large enough to count for all addresses.
        munmap(pages(addr, 0, 1024)?)?;
        let done = {
            let mut faulter = mirror.faulter();
            let table = faulter.lock();
            read_first(&table, 0, &mut [0])
        };

        assert_eq!(done, Err(StaleFrame));
        Ok(())
    }

    #[test]
    fn entries_of_another_mirror_are_refused() -> Result {
        attach_mm()?;
        let addr = mmap(1, true)?;
        let (one, other) = (mirror!(Device)?, mirror!(Device)?);

        map(&one, pages(addr, 0, 1)?, Write)?;
        map(&other, pages(addr, 0, 1)?, Write)?;
        let (mut one, mut other) = (one.faulter(), other.faulter());
        let (one, other) = (one.lock(), other.lock());
        let (one_frame, other_frame) = (&one.entries[0], &other.entries[0]);
        let done = (
            one.read(one_frame, 0, &mut [0]),
            one.read(other_frame, 0, &mut [0]),
            other.read(one_frame, 0, &mut [0]),
        );
        drop((one, other));

        assert_eq!(done, (Ok(1), Err(StaleFrame), Err(StaleFrame)));
        Ok(())
    }
}
