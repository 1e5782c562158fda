package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/guestmem"
	"github.com/isthmus-fs/isthmus/hypercall"
	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/runspec"
	"github.com/isthmus-fs/isthmus/kvm"
	"github.com/isthmus-fs/isthmus/sandbox"
	"github.com/isthmus-fs/isthmus/vfs"
	"github.com/isthmus-fs/isthmus/vmm"
	"github.com/isthmus-fs/isthmus/vmm/gdb"
	"github.com/isthmus-fs/isthmus/vmm/hermit"
)

// hermitRun is a Hermit guest from its files to its end.
type hermitRun struct {
	*runspec.Machine
	log   *slog.Logger
	stdio runStdio
	umask uint32

	kernel *hermit.Kernel
	image  *hermit.Image // what the kernel is from, or nil
	initrd []byte
	tree   machineTree
	output io.Writer
	input  *guestInput

	boot     *hermit.Config
	layout   *hermit.Layout
	offset   uint64 // how far the kernel is from where its file says it is
	ram      *vmm.RAM
	door     hermit.Door
	vm       *vmm.Machine
	debugger *gdb.Listener
	locked   *sandbox.MachineConfig

	undo []func() error // last first
}

// exitStopped is the status of a run that a signal ended.
const exitStopped = 128 + int(syscall.SIGINT)

// runMachine runs a machine to its end and returns the guest's exit code.
func runMachine(ctx context.Context, m *runspec.Machine, log *slog.Logger, stdio runStdio) (status int, err error) {
	r := &hermitRun{Machine: m, log: log, stdio: stdio}
	// The file system sets the umask aside for the whole process.
	r.umask = uint32(unix.Umask(0o077))
	unix.Umask(int(r.umask))
	defer func() { err = errors.Join(err, r.close()) }()
	started := time.Now()
	for _, step := range []func(context.Context) error{
		r.readKernel,
		r.openFiles,
		r.makeMachine,
		r.openDevices,
		r.load,
		r.closeIn,
		r.openTree,
	} {
		if err := step(ctx); err != nil {
			r.dropOutput()
			return exitFailure, err
		}
	}
	log.Debug("the guest starts", "after", time.Since(started), "memory", fmt.Sprintf("%#x", r.layout.Base), "kernel", fmt.Sprintf("%#x", r.layout.Kernel))
	began := time.Now()
	outcome, err := r.run(ctx)
	if err == nil {
		err = r.tellStats(outcome, time.Since(began))
	}
	switch {
	case outcome.Reason == vmm.Exited:
		return int(outcome.Code), err
	case outcome.Reason == vmm.Stopped && ctx.Err() != nil:
		return exitStopped, errors.Join(errors.New("interrupted"), err)
	}
	return exitFailure, errors.Join(outcome.Error(), err)
}

// later has something undone at the end.
func (r *hermitRun) later(f func() error) { r.undo = append(r.undo, f) }

func (r *hermitRun) close() (err error) {
	for i := len(r.undo) - 1; i >= 0; i-- {
		err = errors.Join(err, r.undo[i]())
	}
	return err
}

// maxKernel bounds what is read into memory as a kernel, in bytes.
const maxKernel = 1 << 30

// readKernel reads the kernel, and out of an image what goes with it.
func (r *hermitRun) readKernel(ctx context.Context) error {
	f, err := os.Open(r.Kernel)
	if err != nil {
		return kernelError(r.Kernel, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return kernelError(r.Kernel, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("kernel %s: it is not a file", r.Kernel)
	case info.Size() > maxKernel:
		return fmt.Errorf("kernel %s: it has %d bytes, more than the %d that a kernel or an image may have", r.Kernel, info.Size(), maxKernel)
	}
	file := make([]byte, info.Size())
	if _, err := io.ReadFull(f, file); err != nil {
		return kernelError(r.Kernel, err)
	}
	switch hermit.Detect(file) {
	case hermit.FormatImage:
		return r.readImage(ctx, file)
	case hermit.FormatUnknown:
		return fmt.Errorf("kernel %s: it is neither an ELF file nor a Hermit image (tar.gz)", r.Kernel)
	}
	if r.kernel, err = hermit.ParseKernel(file); err != nil {
		return kernelError(r.Kernel, err)
	}
	r.settleEnv(nil)
	return nil
}

// settleEnv puts the guest's environment together.
func (r *hermitRun) settleEnv(image []string) {
	if r.HostEnv {
		// What is no text a kernel could not read, and then it might have none at all.
		r.Env = slices.DeleteFunc(os.Environ(), func(e string) bool {
			if utf8.ValidString(e) {
				return false
			}
			name, _, _ := strings.Cut(e, "=")
			r.log.Warn("a variable of the host's environment is left out, as it is not UTF-8", "name", name)
			return true
		})
		return
	}
	r.Env = hermit.MergeEnv(image, r.Env)
}

func kernelError(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("kernel %s: %w", path, err)
}

// makeMachine places the guest and makes the machine, with memory that is empty yet.
func (r *hermitRun) makeMachine(context.Context) error {
	r.boot = r.bootConfig()
	var err error
	if r.layout, err = r.boot.Place(); err != nil {
		return kernelError(r.Kernel, err)
	}
	if r.ASLR && !r.layout.Randomised {
		r.log.Info("the kernel is not position-independent: its address is not random", "kernel", r.Kernel)
	}
	r.ram, err = vmm.NewRAM(vmm.RAMConfig{
		Size:      r.Memory,
		GPA:       r.layout.Base,
		HugePages: r.THP,
		Mergeable: r.KSM,
	})
	if err != nil {
		return err
	}
	r.later(r.ram.Close)
	memory, err := r.firmware()
	if err != nil {
		return err
	}
	r.vm, err = vmm.New(&vmm.Config{
		KVM:          r.KVM,
		CPUs:         r.CPUs,
		Memory:       append(memory, r.ram),
		PIT:          r.PIT,
		DisableExits: r.CPUPM,
		Affinity:     r.Affinity,
		CPUID:        r.cpuid,
		Hook:         r.door.Hook,
		Kinds:        hermit.Kinds(),
		Timed:        r.Stats != runspec.StatsOff,
		Debug:        r.GDBPort != nil,
		OnThread:     r.closeInCPU,
		Logger:       r.log,
	})
	if err != nil {
		return err
	}
	r.later(r.vm.Close)
	return nil
}

// firmware makes the memory in which kernels look for the tables of a PC's firmware, byte by
// byte, where the guest has none of its own. There are no tables in it.
func (r *hermitRun) firmware() (list []*vmm.RAM, err error) {
	for _, c := range []vmm.RAMConfig{{GPA: 0x9f000, Size: 0x1000}, {GPA: 0xf0000, Size: 0x10000}} {
		if c.GPA >= r.layout.Base && c.GPA < r.layout.End {
			continue
		}
		ram, err := vmm.NewRAM(c)
		if err != nil {
			return nil, err
		}
		r.later(ram.Close)
		list = append(list, ram)
	}
	return list, nil
}

// load puts the kernel and all that it is told into memory, and sets the registers.
func (r *hermitRun) load(context.Context) error {
	// A counter that is not steady is 0: then the kernel measures it.
	if khz, err := r.vm.CPU(0).VCPU().GetTSCKHz(); err == nil && khz > 0 {
		r.boot.TSCKHz = uint32(khz)
	}
	r.boot.BootTime = time.Now()
	boot, err := r.boot.Prepare(r.layout, r.ram.Bytes())
	if err != nil {
		return kernelError(r.Kernel, err)
	}
	r.offset = boot.Offset
	for i := range r.vm.CPUs() {
		if err := setRegisters(r.vm.CPU(i).VCPU(), boot, i); err != nil {
			return fmt.Errorf("CPU %d: %w", i, err)
		}
	}
	return nil
}

// setRegisters has a processor begin with the kernel's first instruction.
func setRegisters(v *kvm.VCPU, boot *hermit.Boot, cpu int) error {
	var s kvm.Sregs
	if err := v.GetSregs(&s); err != nil {
		return err
	}
	boot.Sregs(&s)
	if err := v.SetSregs(&s); err != nil {
		return err
	}
	regs := boot.Regs(cpu)
	if err := v.SetRegs(&regs); err != nil {
		return err
	}
	// The others do not wait for the first one to wake them either.
	if err := v.SetMPState(kvm.MP_STATE_RUNNABLE); err != nil {
		return err
	}
	_, err := v.SetMSRs(hermit.MSRs())
	return err
}

// run opens the door and lets the guest run.
func (r *hermitRun) run(ctx context.Context) (vmm.Outcome, error) {
	view := r.vm.Memory().Acquire()
	defer view.Release()
	guest, err := r.openDoor(view)
	if err != nil {
		return vmm.Outcome{Reason: vmm.Failed, CPU: -1, Err: err}, nil
	}
	defer guest.Close()
	r.door.Open(guest, r.vm.End)
	// Whoever waits for somebody to type is not to hold up the end.
	go func() {
		<-r.vm.Ended()
		r.input.end()
	}()
	wait := r.debug(ctx)
	outcome := r.vm.Run(ctx)
	return outcome, wait()
}

// openDoor begins a session of the file tree.
func (r *hermitRun) openDoor(view *guestmem.View) (*hypercall.Guest, error) {
	args := append([]string{r.Kernel}, r.KernelArgs...)
	if len(r.AppArgs) != 0 {
		args = append(append(args, "--"), r.AppArgs...)
	}
	cfg := hypercall.Config{
		FS:     r.tree.share.FS(),
		Memory: view,
		Args:   args,
		Env:    r.legacyEnv(),
		Output: r.output,
		Input:  r.input,
		UID:    uint32(os.Geteuid()),
		GID:    uint32(os.Getegid()),
		Umask:  r.umask,
		Logger: r.log,
	}
	if r.tree.private {
		// Ids of the mount at / are those without an index of a mount in them.
		cfg.MakeParents = func(dir vfs.NodeID) bool { return dir <= vfs.MaxNodeID }
	}
	return hypercall.New(cfg)
}

// legacyEnv is the environment as kernels ask for it that do not read a device tree. Those
// before 0.10 do not end their list of it, and what follows in memory is a pointer to
// nowhere, but for lists of eight and more; so empty strings, which are no variables, make
// up for what is missing.
func (r *hermitRun) legacyEnv() []string {
	const least = 8
	env := r.Env
	for r.kernel.Legacy && len(env) < least {
		env = append(env[:len(env):len(env)], "")
	}
	return env
}

// tellStats writes what --stats asks for.
func (r *hermitRun) tellStats(o vmm.Outcome, wall time.Duration) error {
	if r.Stats == runspec.StatsOff {
		return nil
	}
	s := newRunStats(r.vm.Stats(), o, wall, r.door.Failures)
	if r.Stats == runspec.StatsJSON {
		return s.writeJSON(r.stdio.err)
	}
	return s.writeText(r.stdio.out)
}

// openTree opens what the guest sees, with nothing else in reach.
func (r *hermitRun) openTree(ctx context.Context) error {
	share, err := compose.Open(ctx, r.tree.mounts, r.tree.files, compose.Options{Progress: progress(r.log), Logger: r.log})
	if err != nil {
		return err
	}
	r.tree.share, r.tree.files = share, nil
	r.later(share.Close)
	return nil
}
