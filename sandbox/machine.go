package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Isolation says what Landlock is to do for a virtual machine: uhyve's option
// --file-isolation.
type Isolation uint8

const (
	// IsolationNormal: all that the kernel offers. One that has no Landlock is told to
	// the logger.
	IsolationNormal Isolation = iota
	// IsolationStrict: all that the kernel offers, and [LockMachine] fails where that is
	// less than [StrictABI].
	IsolationStrict
	// IsolationNone: nothing. The other layers apply all the same.
	IsolationNone
)

// String is the name that command lines use.
func (i Isolation) String() string { return nameOf(i, "normal", "strict", "none") }

// MachineConfig says what a virtual machine that runs in this process needs of the host
// from [LockMachine] on.
//
// No file is needed by its name but those of the shares: /dev/kvm, the TAP device,
// guest images, the output, logs and sockets that listen are opened before. What may be
// done with a descriptor was settled when it was opened, so these need no rules.
type MachineConfig struct {
	Isolation Isolation

	// Shares are all host files that the guest is to reach. Each must exist.
	//
	// A ReadOnly one is that for the kernel too, also for root. A file has the rights to
	// itself alone, and these go with the file, not with its name: what the host puts in its
	// place later is out of reach. Rules add up: what is below a writable directory is
	// writable, also where it is another share that is ReadOnly.
	Shares []Share
	// Removals are directories in which shared files may be removed. Landlock can say
	// this only of all names in a directory and below. They stay the caller's.
	Removals []*os.File

	// Net says that there is a TAP device, GDB that there is a listening TCP socket for
	// a debugger, and MemoryFiles that the process still makes files in memory, as
	// opening archives and private space does. All need system calls.
	Net, GDB, MemoryFiles bool

	// Keep is the capabilities that remain.
	Keep    Caps
	Seccomp Action

	// Logger is for what this package has to tell; nil is slog.Default().
	Logger *slog.Logger

	abi     func() (int, error) // of Landlock; nil is landlockABI
	locked  bool
	filters [roles][]unix.SockFilter // by Role; nil without a filter
}

// LockMachine takes from every thread of the process, and from those to come, all
// rights that running a machine does not take: capabilities, the way back to them, files
// by Landlock, and system calls by seccomp. There is no way back. It returns the layers
// that are in force, to be logged; after an error the process is not to go on.
//
// It comes when the machine, its processors, its memory and its devices exist: of KVM's
// calls only those are left that a machine needs while it runs. Shares may be opened
// afterwards, without file handles (passthrough.HandlesNever).
//
// It is called once, by one goroutine, in a program without cgo.
func LockMachine(cfg *MachineConfig) (layers []string, err error) {
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	// Package time reads the time zone when it first needs it, which would be refused
	// below, and be the end of a thread that may not open files.
	time.Now().Zone()

	filters, err := machineFilters(cfg, os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	if layers, err = renounce(cfg.Keep, clearCaps, log); err != nil {
		return nil, err
	}
	desc, err := landlockMachine(cfg, log)
	if err != nil {
		return nil, fmt.Errorf("landlock: %w", err)
	}
	if desc != "" {
		layers = append(layers, desc)
	}
	if filters != nil {
		if err := setFilter(filters.process); err != nil {
			return nil, fmt.Errorf("seccomp: install the filter: %w", err)
		}
		layers = append(layers, "seccomp: "+cfg.Seccomp.String())
		cfg.filters = filters.threads
	}
	cfg.locked = true
	return layers, nil
}

// Role is what a thread of a machine does.
type Role uint8

const (
	// RoleVCPU runs a virtual processor and serves what its guest asks for: files and
	// devices.
	RoleVCPU Role = iota
	// RoleDevice moves data between descriptors that are open, such as a TAP device, and
	// guest memory. It opens nothing.
	RoleDevice

	roles = 2
)

// String is the name that messages use.
func (r Role) String() string { return nameOf(r, "processor", "device") }

// LockThread takes from the calling thread the system calls that its role does not take.
// It comes after [LockMachine], with whose Seccomp it has an effect or not.
//
// The calling goroutine has locked itself to the thread (runtime.LockOSThread) and never
// unlocks it, so that the thread ends with it and no other goroutine gets there. Whatever
// takes more rights, such as pinning the thread to a processor, is done before. Several
// threads may call it at once.
func (cfg *MachineConfig) LockThread(role Role) error {
	switch {
	case !cfg.locked:
		return errors.New("the process is to be closed in before its threads are")
	case role >= roles:
		return fmt.Errorf("unknown role %s of a thread", role)
	case cfg.filters[role] == nil:
		return nil
	}
	if err := installFilter(cfg.filters[role], 0); err != nil {
		return fmt.Errorf("seccomp: install the filter for a %s: %w", role, err)
	}
	return nil
}
