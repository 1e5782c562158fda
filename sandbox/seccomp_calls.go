package sandbox

import "golang.org/x/sys/unix"

// callGroup is system calls that are allowed, and why.
type callGroup struct {
	why string
	// plain ones are allowed whatever their arguments are. The kernel then knows the
	// answer from the number alone and does not run the filter, so all that is called
	// per request stands here.
	plain []uint32
	// checked ones are allowed if their arguments meet the rule. A rule sees numbers
	// only: what a pointer points to can change after the check.
	checked map[uint32]rule
}

// callGroups are all that a process which serves files calls after [Lock], and
// nothing beyond. Set against virtiofsd's list, it lacks what only a C library
// calls, and it looks at arguments.
//
// What is not here is as deliberate: no new sockets (socket, connect, bind), programs
// (execve, fork), namespaces and mounts, no look at or into other processes (ptrace,
// process_vm_readv, pidfd_open), and none of the calls that many a hole
// in the kernel was reached through (io_uring, bpf, userfaultfd, keyctl, perf_event_open).
func callGroups(cfg *Config, pid int) []callGroup {
	groups := []callGroup{fileData, fileOpening, {
		why: "changes of directories and attributes",
		plain: []uint32{
			unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_SYMLINKAT, unix.SYS_LINKAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT,
			unix.SYS_RENAMEAT2, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWNAT,
			unix.SYS_UTIMENSAT,
		},
	}, {
		why: "extended attributes",
		plain: []uint32{
			unix.SYS_GETXATTR, unix.SYS_SETXATTR, unix.SYS_LISTXATTR, unix.SYS_REMOVEXATTR,
			unix.SYS_FGETXATTR, unix.SYS_FSETXATTR, unix.SYS_FLISTXATTR, unix.SYS_FREMOVEXATTR,
			unix.SYS_GETXATTRAT, unix.SYS_SETXATTRAT, unix.SYS_LISTXATTRAT, unix.SYS_REMOVEXATTRAT,
		},
	}, fileUsers, fileLocks, {
		why: "inode flags, the only commands that package passthrough hands on",
		checked: map[uint32]rule{
			unix.SYS_IOCTL: {commandIs(1, unix.FS_IOC_GETFLAGS, unix.FS_IOC_SETFLAGS, fsIocGetXattr, fsIocSetXattr)},
		},
	}, {
		why: "connections of front ends, whose listening socket exists, and their queues",
		plain: []uint32{
			unix.SYS_ACCEPT4, unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_GETSOCKOPT, unix.SYS_GETSOCKNAME,
			unix.SYS_GETPEERNAME, unix.SYS_SHUTDOWN, unix.SYS_EVENTFD2, unix.SYS_POLL, unix.SYS_PPOLL,
		},
	}, mappings, runtimeCalls, newThreads, signals(pid), {
		why:   "who we are and what our limits are, without changing them",
		plain: []uint32{unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETGROUPS, unix.SYS_GETRLIMIT},
		checked: map[uint32]rule{
			unix.SYS_PRLIMIT64: {commandIs(0, 0), argIs(2, 0)},
		},
	}}
	if cfg.FileHandles {
		groups = append(groups, callGroup{
			why:   "nodes that are held by handle",
			plain: []uint32{unix.SYS_OPEN_BY_HANDLE_AT},
		})
	}
	if cfg.MemoryFiles {
		groups = append(groups, memoryFiles)
	}
	if cfg.TCPServer {
		groups = append(groups, tcpOptions)
	}
	return groups
}

// Groups that more than one list is made of.
var (
	fileData = callGroup{
		why: "file data, to and from the guest's memory",
		plain: []uint32{
			unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64,
			unix.SYS_PREADV2, unix.SYS_PWRITEV2, unix.SYS_COPY_FILE_RANGE, unix.SYS_LSEEK, unix.SYS_FALLOCATE,
			unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_SYNC_FILE_RANGE, unix.SYS_FADVISE64,
		},
	}
	fileOpening = callGroup{
		why: "opening, and what files are like",
		plain: []uint32{
			unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_CLOSE, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_GETDENTS64,
			unix.SYS_READLINKAT, unix.SYS_STATX, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_FSTATFS,
			unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2,
		},
	}
	fileUsers = callGroup{
		why:   "acting as the guest's users, on one thread",
		plain: []uint32{unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETGROUPS, unix.SYS_CAPGET, unix.SYS_CAPSET, unix.SYS_UMASK, unix.SYS_FCHDIR},
		checked: map[uint32]rule{
			unix.SYS_UNSHARE: {argIs(0, unix.CLONE_FS)},
		},
	}
	fileLocks = callGroup{
		why:   "locks, and what descriptors are like; not who gets their signals (F_SETOWN)",
		plain: []uint32{unix.SYS_FLOCK},
		checked: map[uint32]rule{
			unix.SYS_FCNTL: {commandIs(1, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL,
				unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW, unix.F_ADD_SEALS)},
		},
	}
	mappings = callGroup{
		why:   "memory of the guest and of our own; none of it is ever a program",
		plain: []uint32{unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE},
		checked: map[uint32]rule{
			unix.SYS_MMAP: noExec,
			// Names for mappings.
			unix.SYS_PRCTL: {commandIs(0, unix.PR_SET_VMA), argIs(1, unix.PR_SET_VMA_ANON_NAME)},
		},
	}
	runtimeCalls = callGroup{
		why: "the Go runtime's threads, timers and network poller",
		plain: []uint32{
			unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_SCHED_YIELD,
			unix.SYS_SCHED_GETAFFINITY, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
			unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_GETRANDOM,
		},
	}
	newThreads = callGroup{
		why: "the Go runtime's new threads",
		checked: map[uint32]rule{
			// Threads alone: neither a process nor a namespace. The flags of clone3
			// are in memory, out of a filter's sight, so it is not here.
			unix.SYS_CLONE: {argIs(0, threadFlags)},
		},
	}
	memoryFiles = callGroup{
		why:   "data in memory, which is never a program",
		plain: []uint32{unix.SYS_MEMFD_CREATE},
	}
	tcpOptions = callGroup{
		why: "connections of a listening TCP socket that exists",
		checked: map[uint32]rule{
			unix.SYS_SETSOCKOPT: {commandIs(1, unix.IPPROTO_TCP, unix.SOL_SOCKET), commandIs(2, unix.TCP_NODELAY,
				unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT, unix.SO_KEEPALIVE)},
		},
	}
)

// signals are those of the process with the given id to itself.
func signals(pid int) callGroup {
	return callGroup{
		why: "signals, for preemption and for the message of a crash",
		plain: []uint32{
			unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
			unix.SYS_GETPID, unix.SYS_GETTID,
		},
		checked: map[uint32]rule{
			unix.SYS_TGKILL: {commandIs(0, uint64(pid))},
			unix.SYS_KILL:   {commandIs(0, uint64(pid))},
		},
	}
}

// Numbers of linux/fs.h that package unix lacks.
const (
	fsIocGetXattr = 0x801c581f
	fsIocSetXattr = 0x401c5820
)

// threadFlags are the flags of clone(2) with which the Go runtime makes a thread.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM |
	unix.CLONE_THREAD | unix.CLONE_SETTLS

// noExec is met by mmap, whose third argument is the protection, if it is not
// executable. The Go runtime has all its code in the program's file.
var noExec = rule{{2, unix.PROT_EXEC, []uint64{0}}}
