package sandbox

import (
	"slices"

	"golang.org/x/sys/unix"
)

// filters are those of a machine: of the process, and of its threads by their [Role].
type filters struct {
	process []unix.SockFilter
	threads [roles][]unix.SockFilter
}

// machineFilters makes the filters of a machine in the process with the given id; nil
// stands for none.
func machineFilters(cfg *MachineConfig, pid int) (*filters, error) {
	if cfg.Seccomp == SeccompNone {
		return nil, nil
	}
	var f filters
	var err error
	if f.process, err = filterProgram(cfg.Seccomp, machineGroups(cfg, pid)); err != nil {
		return nil, err
	}
	for role := range Role(roles) {
		if f.threads[role], err = filterProgram(cfg.Seccomp, threadGroups(cfg, role, pid)); err != nil {
			return nil, err
		}
	}
	return &f, nil
}

// machineGroups are all that a process which runs a machine calls after [LockMachine],
// and nothing beyond. Against the list of file servers it lacks what no hypercall leads to:
// to change owners, times or extended attributes, to move and to link, to make anything
// but directories and regular files, file handles, and messages on sockets.
//
// It begins with ioctl, as KVM_RUN is the call that matters: the kernel runs the filter
// for each one.
func machineGroups(cfg *MachineConfig, pid int) []callGroup {
	groups := append(machineCalls(cfg, pid), newThreads, callGroup{
		why: "what threads do to themselves: to be closed in further, to be pinned",
		checked: map[uint32]rule{
			// Without flags, so that no supervisor and no other thread is concerned.
			unix.SYS_SECCOMP:           {argIs(0, unix.SECCOMP_SET_MODE_FILTER), argIs(1, 0)},
			unix.SYS_SCHED_SETAFFINITY: {commandIs(0, 0)},
		},
	})
	if cfg.MemoryFiles {
		groups = append(groups, memoryFiles)
	}
	if cfg.GDB {
		groups = append(groups, tcpOptions, callGroup{
			why:   "the debugger's connection",
			plain: []uint32{unix.SYS_ACCEPT4, unix.SYS_GETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SHUTDOWN},
		})
	}
	return groups
}

// threadGroups are the calls of a thread with a role. What Go's runtime may have to do on any
// thread is with each of them: collecting garbage maps and unmaps memory.
//
// There is no clone: a thread that a goroutine has locked leaves new threads to another,
// the template thread (newm in runtime/proc.go, lockedExt), which LockOSThread has started
// before it locks.
func threadGroups(cfg *MachineConfig, role Role, pid int) []callGroup {
	if role == RoleVCPU {
		return machineCalls(cfg, pid)
	}
	groups := []callGroup{{
		why:   "data and events of descriptors that are open",
		plain: []uint32{unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2, unix.SYS_POLL, unix.SYS_PPOLL, unix.SYS_CLOSE},
		checked: map[uint32]rule{
			unix.SYS_FCNTL: {commandIs(1, unix.F_GETFL, unix.F_SETFL)},
		},
	}, mappings, runtimeCalls, pollerCalls, signals(pid)}
	if cfg.Net {
		groups = append(groups, callGroup{
			why:     "interrupts, and what the guest's driver takes of the host",
			checked: map[uint32]rule{unix.SYS_IOCTL: {commandIs(1, unix.TUNSETOFFLOAD, irqLine)}},
		})
	}
	return groups
}

// machineCalls are what a virtual processor needs, which serves hypercalls on its thread,
// and so does the process.
func machineCalls(cfg *MachineConfig, pid int) []callGroup {
	commands := slices.Clone(kvmCommands)
	if cfg.Net {
		commands = append(commands, unix.TUNSETOFFLOAD)
	}
	return []callGroup{{
		why:     "KVM's virtual processors and interrupts",
		checked: map[uint32]rule{unix.SYS_IOCTL: {commandIs(1, commands...)}},
	}, fileData, fileOpening, {
		why: "changes of directories; of attributes only the mode, from which rules may take set-ID bits",
		plain: []uint32{
			unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_FCHMODAT,
		},
	}, {
		why: "extended attributes: the host's capabilities of a file that is written to",
		plain: []uint32{
			unix.SYS_GETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_FGETXATTR, unix.SYS_FREMOVEXATTR,
			unix.SYS_GETXATTRAT, unix.SYS_REMOVEXATTRAT,
		},
	}, {
		why:   "standard input, which the guest waits for until it ends",
		plain: []uint32{unix.SYS_POLL, unix.SYS_PPOLL},
	}, fileUsers, fileLocks, mappings, runtimeCalls, pollerCalls, signals(pid), {
		why:   "who we are, what we use and what our limits are, without changing them",
		plain: []uint32{unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETGROUPS, unix.SYS_GETRLIMIT, unix.SYS_GETRUSAGE},
		checked: map[uint32]rule{
			unix.SYS_PRLIMIT64: {commandIs(0, 0), argIs(2, 0)},
		},
	}}
}

// pollerCalls are for the network poller, which the first timer or pipe makes, on whichever
// thread that is.
var pollerCalls = callGroup{
	why:   "what wakes the Go runtime's poller",
	plain: []uint32{unix.SYS_EVENTFD2},
}

// irqLine is KVM_IRQ_LINE, as in kvmCommands.
const irqLine = 0x4008ae61

// kvmCommands are the ioctls of a machine that runs (linux/kvm.h): registers of a
// processor and its interrupt controller, breakpoints, and interrupts of devices. Memory,
// processors, capabilities and CPUID are settled before.
var kvmCommands = []uint64{
	0xae80,     // KVM_RUN
	0x8090ae81, // KVM_GET_REGS
	0x4090ae82, // KVM_SET_REGS
	0x8138ae83, // KVM_GET_SREGS
	0x4138ae84, // KVM_SET_SREGS
	0xc018ae85, // KVM_TRANSLATE
	0xc008ae88, // KVM_GET_MSRS
	0x4008ae89, // KVM_SET_MSRS
	0x81a0ae8c, // KVM_GET_FPU
	0x41a0ae8d, // KVM_SET_FPU
	0x8400ae8e, // KVM_GET_LAPIC
	0x4400ae8f, // KVM_SET_LAPIC
	0x8004ae98, // KVM_GET_MP_STATE
	0x4004ae99, // KVM_SET_MP_STATE
	0x4048ae9b, // KVM_SET_GUEST_DEBUG
	0x8040ae9f, // KVM_GET_VCPU_EVENTS
	0x4040aea0, // KVM_SET_VCPU_EVENTS
	0x9000aea4, // KVM_GET_XSAVE
	0x5000aea5, // KVM_SET_XSAVE
	0xaead,     // KVM_KVMCLOCK_CTRL
	0x4008ae61, // KVM_IRQ_LINE
	0x4008ae6a, // KVM_SET_GSI_ROUTING
	0x4020ae76, // KVM_IRQFD
	0x4040ae79, // KVM_IOEVENTFD
	0x4020aea5, // KVM_SIGNAL_MSI
}
