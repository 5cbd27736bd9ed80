// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The torture test: its figures, the processes that enlist, the workers, and the module.
 */
#define pr_fmt(fmt) "hmm_torture: " fmt

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "torture.h"

static unsigned int workers = 2;
module_param(workers, uint, 0444);
MODULE_PARM_DESC(workers, "Threads that have devices (default: 2)");

static unsigned long seed = 1;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "What they do at random depends on this (default: 1)");

unsigned int hmt_patience = 30;
module_param_named(patience, hmt_patience, uint, 0444);
MODULE_PARM_DESC(patience, "Seconds that a fault may take (default: 30)");

static const char * const hmt_stat_names[HMT_STATS] = {
	[HMT_REGISTERED]	= "registered",
	[HMT_TOO_LATE]		= "too_late_to_register",
	[HMT_UNREGISTERED]	= "unregistered",
	[HMT_RELEASED]		= "released",
	[HMT_CALLBACKS]		= "callbacks",
	[HMT_FLUSHES]		= "flushes",
	[HMT_FAULTS]		= "faults",
	[HMT_REFUSED]		= "refused_faults",
	[HMT_PAGES]		= "pages",
	[HMT_RETRIES]		= "retries",
	[HMT_KEPT]		= "kept_ranges",
	[HMT_KEPT_VALID]	= "kept_ranges_valid",
	[HMT_KEPT_HIT]		= "kept_ranges_hit",
	[HMT_READS]		= "reads",
	[HMT_WRITES]		= "writes",
	/* The registry's own; it counts while hmm_mirror/counting says so */
	[HMT_COLLISIONS]	= "collisions",
	[HMT_WAITS]		= "waits",
	[HMT_VETOES]		= "vetoes",
	[HMT_WORST_NS]		= "worst_fault_ns",
	[HMT_STALE]		= "stale",
	[HMT_LOST]		= "lost_writes",
	[HMT_BROKEN]		= "broken_promises",
	[HMT_HANGS]		= "hangs",
};

atomic_long_t hmt_stats[HMT_STATS];

void hmt_count(enum hmt_stat stat, long nr)
{
	atomic_long_add(nr, &hmt_stats[stat]);
}

/*
 * What must not be: count it, and say so, for the first few times.  True if there is
 * more to say.
 */
bool hmt_wrong(enum hmt_stat stat, const char *format, ...)
{
	struct va_format text = { .fmt = format };
	va_list args;

	if (atomic_long_inc_return(&hmt_stats[stat]) > 10)
		return false;
	va_start(args, format);
	text.va = &args;
	pr_alert("%s: %pV\n", hmt_stat_names[stat], &text);
	va_end(args);
	return true;
}

static DEFINE_MUTEX(hmt_lock);		/* protects what follows, and enlisting */
static LIST_HEAD(hmt_victims);
static unsigned int hmt_nr_victims;

static struct hmt_worker *hmt_workers;

static void hmt_victim_free(struct kref *ref)
{
	struct hmt_victim *victim = container_of(ref, struct hmt_victim, ref);

	if (victim->mm)
		mmdrop(victim->mm);
	vfree(victim->published);
	kfree(victim);
}

static struct hmt_victim *hmt_pick(struct hmt_worker *worker)
{
	struct hmt_victim *victim, *picked = NULL;
	unsigned int nr;

	mutex_lock(&hmt_lock);
	if (hmt_nr_victims) {
		nr = hmt_random(worker, hmt_nr_victims);
		list_for_each_entry(victim, &hmt_victims, list) {
			picked = victim;
			if (!nr--)
				break;
		}
		kref_get(&picked->ref);
	}
	mutex_unlock(&hmt_lock);
	return picked;
}

static int hmt_work(void *arg)
{
	struct hmt_worker *worker = arg;

	while (!kthread_should_stop()) {
		struct hmt_victim *victim = hmt_pick(worker);

		if (!victim) {
			schedule_timeout_idle(HZ / 50);
			continue;
		}
		hmt_use_victim(worker, victim);
		kref_put(&victim->ref, hmt_victim_free);
	}
	return 0;
}

/* /dev/hmm_torture, and the figures */

static int hmt_open(struct inode *inode, struct file *file)
{
	struct hmt_victim *victim = kzalloc(sizeof(*victim), GFP_KERNEL);

	if (!victim)
		return -ENOMEM;
	victim->published = vmalloc_user(HMM_TORTURE_PAGES * sizeof(u64));
	if (!victim->published) {
		kfree(victim);
		return -ENOMEM;
	}
	kref_init(&victim->ref);
	INIT_LIST_HEAD(&victim->list);
	file->private_data = victim;
	return 0;
}

static int hmt_close(struct inode *inode, struct file *file)
{
	struct hmt_victim *victim = file->private_data;

	mutex_lock(&hmt_lock);
	if (victim->mm) {
		list_del(&victim->list);
		hmt_nr_victims--;
	}
	mutex_unlock(&hmt_lock);
	kref_put(&victim->ref, hmt_victim_free);
	return 0;
}

static int hmt_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct hmt_victim *victim = file->private_data;

	return remap_vmalloc_range(vma, victim->published, vma->vm_pgoff);
}

static long hmt_enlist(struct hmt_victim *victim,
		       const struct hmm_torture_enlist *arg)
{
	long ret = -EBUSY;

	if (!current->mm || !arg->pages || arg->pages > HMM_TORTURE_PAGES ||
	    !PAGE_ALIGNED(arg->addr) ||
	    arg->addr > current->mm->task_size - (arg->pages << PAGE_SHIFT))
		return -EINVAL;

	mutex_lock(&hmt_lock);
	if (!victim->mm) {
		victim->mm = current->mm;
		mmgrab(victim->mm);
		victim->start = arg->addr;
		victim->pages = arg->pages;
		list_add(&victim->list, &hmt_victims);
		hmt_nr_victims++;
		ret = 0;
	}
	mutex_unlock(&hmt_lock);
	return ret;
}

static long hmt_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct hmm_torture_enlist enlist;

	if (cmd != HMM_TORTURE_IOC_ENLIST)
		return -ENOTTY;
	if (copy_from_user(&enlist, (void __user *)arg, sizeof(enlist)))
		return -EFAULT;
	return hmt_enlist(file->private_data, &enlist);
}

static const struct file_operations hmt_fops = {
	.owner		= THIS_MODULE,
	.open		= hmt_open,
	.release	= hmt_close,
	.mmap		= hmt_mmap,
	.unlocked_ioctl	= hmt_ioctl,
};

static struct miscdevice hmt_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "hmm_torture",
	.fops	= &hmt_fops,
	.mode	= 0600,
};

/* And last what takes longest just now */
static int hmt_stats_show(struct seq_file *m, void *v)
{
	unsigned long longest = 0;
	const char *what = "nothing";
	unsigned int i;

	for (i = 0; i < HMT_STATS; i++)
		seq_printf(m, "%s %ld\n", hmt_stat_names[i],
			   atomic_long_read(&hmt_stats[i]));
	for (i = 0; i < workers; i++) {
		const char *doing = READ_ONCE(hmt_workers[i].doing);
		unsigned long took = jiffies - READ_ONCE(hmt_workers[i].since);

		if (doing && (long)took > (long)longest) {
			longest = took;
			what = doing;
		}
	}
	seq_printf(m, "busy_ms %u %s\n", jiffies_to_msecs(longest), what);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hmt_stats);

static struct dentry *hmt_debugfs;

static void hmt_dev_free(struct hmt_dev *dev)
{
	if (dev)
		mutex_destroy(&dev->mutex);
	kvfree(dev);
}

static struct hmt_dev *hmt_dev_alloc(unsigned int slot)
{
	struct hmt_dev *dev = kvzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	dev->slot = slot;
	spin_lock_init(&dev->spinlock);
	mutex_init(&dev->mutex);
	return dev;
}

/* In the opposite order, and as far as it came */
static void hmt_stop(void)
{
	unsigned int i, j;

	for (i = 0; i < workers; i++)
		if (hmt_workers[i].task)
			kthread_stop(hmt_workers[i].task);
	debugfs_remove(hmt_debugfs);
	for (i = 0; i < workers; i++)
		for (j = 0; j < HMT_GANG; j++)
			hmt_dev_free(hmt_workers[i].dev[j]);
	kfree(hmt_workers);
}

static int hmt_start_worker(unsigned int nr)
{
	struct hmt_worker *worker = &hmt_workers[nr];
	struct task_struct *task;
	unsigned int i;

	prandom_seed_state(&worker->rnd, seed + nr);
	for (i = 0; i < HMT_GANG; i++) {
		worker->dev[i] = hmt_dev_alloc(nr * HMT_GANG + i);
		if (!worker->dev[i])
			return -ENOMEM;
	}
	task = kthread_run(hmt_work, worker, "hmm_torture/%u", nr);
	if (IS_ERR(task))
		return PTR_ERR(task);
	worker->task = task;
	return 0;
}

static int __init hmt_init(void)
{
	unsigned int i;
	int ret = 0;

	BUILD_BUG_ON(sizeof(struct hmm_torture_stamp) > PAGE_SIZE);
	if (!workers || workers > HMT_WORKERS || !hmt_patience)
		return -EINVAL;
	hmt_workers = kcalloc(workers, sizeof(*hmt_workers), GFP_KERNEL);
	if (!hmt_workers)
		return -ENOMEM;
	for (i = 0; !ret && i < workers; i++)
		ret = hmt_start_worker(i);
	if (!ret)
		ret = misc_register(&hmt_misc);
	if (ret) {
		hmt_stop();
		return ret;
	}
	hmt_debugfs = debugfs_create_dir("hmm_torture", NULL);
	debugfs_create_file("stats", 0400, hmt_debugfs, NULL, &hmt_stats_fops);
	pr_info("%u workers, seed %lu\n", workers, seed);
	return 0;
}
module_init(hmt_init);

static void __exit hmt_exit(void)
{
	misc_deregister(&hmt_misc);
	hmt_stop();
}
module_exit(hmt_exit);

MODULE_DESCRIPTION("Torture test of HMM mirroring");
MODULE_LICENSE("GPL");
