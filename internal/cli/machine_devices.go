package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/runspec"
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/vmm/gdb"
	"github.com/isthmus-fs/isthmus/vmm/hermit"
)

// openFiles opens all that the guest is to have of the host, as the user who asks for it.
func (r *hermitRun) openFiles(context.Context) (err error) {
	r.later(r.tree.close)
	// Root may have fewer files open than one guest.
	if err := raiseFileLimit(defaultFileLimit(), r.log); err != nil {
		return err
	}
	all := &spec.Mount{IO: r.IO}
	if err := r.tree.resolve(r.Mounts(), r.root(), all, r.log); err != nil {
		return err
	}
	if err := r.tree.open(tempDir(r.TempDir)); err != nil {
		return err
	}
	if r.input, err = newGuestInput(int(r.stdio.in.Fd())); err != nil {
		return err
	}
	r.later(func() error { r.input.close(); return nil })
	return r.openOutput()
}

// openOutput opens what the guest writes to.
func (r *hermitRun) openOutput() error {
	switch r.Output.Kind {
	case runspec.ToNone:
		r.output = io.Discard
	case runspec.ToFile:
		f, err := os.OpenFile(r.Output.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o666)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("output %s: the file exists, and is left as it is: remove it or name another", r.Output.Path)
		} else if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		r.output = f
		r.later(f.Close)
	default:
		r.output = r.stdio.out
	}
	return nil
}

// dropOutput takes back the output of a guest that has not started, so that the next try
// finds no file there. When the process is closed in it stays.
func (r *hermitRun) dropOutput() {
	if r.Output.Kind == runspec.ToFile && r.output != nil {
		os.Remove(r.Output.Path)
	}
}

// bootConfig says what the kernel is told. What only the machine knows is not in it.
func (r *hermitRun) bootConfig() *hermit.Config {
	return &hermit.Config{
		Kernel:     r.kernel,
		Memory:     r.Memory,
		CPUs:       r.CPUs,
		Fixed:      !r.ASLR,
		KernelArgs: r.KernelArgs,
		AppArgs:    r.AppArgs,
		Env:        r.Env,
		Mounts:     r.mountList(),
		Initrd:     r.initrd,
		PCI:        true,
	}
}

// mountList lists what the kernel is to mount.
func (r *hermitRun) mountList() []string {
	var list []hermit.Mapped
	for i := range r.tree.mounts {
		m := &r.tree.mounts[i]
		list = append(list, hermit.Mapped{Path: m.Target, Dir: !m.IsFile()})
	}
	if r.image != nil && r.ImageMode == runspec.External {
		for _, dir := range r.image.Dirs {
			list = append(list, hermit.Mapped{Path: dir, Dir: true})
		}
	}
	return hermit.MountList(list)
}

// cpuid is what a processor says of itself.
func (r *hermitRun) cpuid(cpu int, leaves []kvm.CPUIDEntry2) []kvm.CPUIDEntry2 {
	return hermit.PatchCPUID(leaves, cpu, r.CPUs)
}

// openDevices opens the network and waits for nobody yet.
func (r *hermitRun) openDevices(context.Context) error {
	if r.Net != nil {
		if err := r.openNet(*r.Net); err != nil {
			return err
		}
	}
	if r.GDBPort == nil {
		return nil
	}
	l, err := gdb.Listen(*r.GDBPort)
	if err != nil {
		return fmt.Errorf("--gdb-port: %w", err)
	}
	r.debugger = l
	r.later(func() error { l.Close(); return nil }) // which Serve has done if it came to that
	r.log.Warn("waiting for a debugger, and the guest with it", "gdb", fmt.Sprintf("target remote %s", l.Addr()))
	return nil
}

// debug serves a debugger, if there is to be one, until the guest ends; the function that
// it returns waits for that.
func (r *hermitRun) debug(ctx context.Context) (wait func() error) {
	if r.debugger == nil {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	failed := func(err error) { r.log.Warn("a debugger's session ended", "err", err) }
	go func() { done <- r.debugger.Serve(ctx, gdb.Machine(r.vm, r.offset), failed) }()
	return func() error { return <-done }
}

// isolations and seccomps are the sandbox's words for the owner's.
var isolations = map[runspec.Isolation]sandbox.Isolation{
	runspec.None:   sandbox.IsolationNone,
	runspec.Normal: sandbox.IsolationNormal,
	runspec.Strict: sandbox.IsolationStrict,
}

// machineCaps is what root keeps: the rights over files that it had as a user of the host.
const machineCaps = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID

// closeIn takes from this process what running the guest does not take.
func (r *hermitRun) closeIn(context.Context) error {
	seccomp, err := seccompActions.pick("seccomp", r.Seccomp)
	if err != nil {
		return err
	}
	r.locked = &sandbox.MachineConfig{
		Isolation: isolations[r.Isolation],
		Net:       r.Net != nil,
		GDB:       r.debugger != nil,
		Keep:      machineCaps,
		Seccomp:   seccomp,
		Logger:    r.log,
	}
	for i := range r.tree.mounts {
		m := &r.tree.mounts[i]
		if path, host := m.HostSource(); host {
			r.locked.Shares = append(r.locked.Shares, sandbox.Share{Path: path, ReadOnly: m.KeepsHost()})
		}
		if dir := r.tree.files[i].Parent; dir != nil {
			r.locked.Removals = append(r.locked.Removals, dir)
		}
		r.locked.MemoryFiles = r.locked.MemoryFiles || m.InMemory()
	}
	for _, made := range r.tree.made {
		r.locked.Removals = append(r.locked.Removals, made.dir)
	}
	layers, err := sandbox.LockMachine(r.locked)
	if err != nil {
		return err
	}
	r.log.Debug("closed in", "layers", layers)
	return nil
}

// closeInCPU takes from the thread of a processor what that does not take.
func (r *hermitRun) closeInCPU() error { return r.locked.LockThread(sandbox.RoleVCPU) }
