package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Numbers of the files a guest process inherits, in this order after the
// standard streams.
const (
	fdLink     = 3 // its end of the link, a socket
	fdInitrd   = 4
	fdLifeline = 5 // of User-Mode Linux, see keeper.go
)

// linkPort is the name of the virtio-serial port that carries the link.
const linkPort = "isthmus.link"

// linkDevice is where the agent finds its end of the link.
var linkDevice = [...]string{
	UML:  "/dev/ttyS0",
	QEMU: "port:" + linkPort,
}

// kindModules are the modules each kind of guest needs for the link and for
// virtio-fs.
var kindModules = [...][]string{
	UML:  {"virtiofs"},
	QEMU: {"virtio_pci", "virtio_console", "virtiofs"},
}

// virtioFsID is the virtio device id of virtio-fs (virtio 1.3 §5).
const virtioFsID = 26

// commandLine returns the program of the guest and its arguments.
// direct says that the kernel mounts the root share itself, without initramfs.
func commandLine(cfg *Config, t *Tools, direct bool) (program string, args []string) {
	if cfg.Kind == UML {
		return t.Kernel, umlArgs(cfg, t)
	}
	return t.QEMU, qemuArgs(cfg, t, direct)
}

// umlArgs is the command line of User-Mode Linux, which is that of its kernel.
func umlArgs(cfg *Config, t *Tools) []string {
	args := []string{
		fmt.Sprintf("mem=%dM", cfg.MemoryMiB),
		fmt.Sprintf("initrd=/proc/self/fd/%d", fdInitrd),
		"rdinit=" + agentPath,
		"con=null", "con0=null,fd:1",
		"ssl=null", fmt.Sprintf("ssl0=fd:%d", fdLink),
		// The directory of the management console is not wanted, and this one
		// cannot be made.
		"uml_dir=/dev/null/",
		// With security modules, some releases fail in execve.
		"lsm=",
		// An interrupt that comes just before the kernel sleeps does not wake it (up to
		// 6.1 at least): it then sleeps until its next timer, which without a regular
		// tick may be far away, and the guest hangs.
		"nohz=off",
		"panic=-1", "quiet",
	}
	if cfg.Reboots == 0 {
		args = append(args, "noreboot")
	}
	if umlHasSeccomp(t.Kernel) {
		args = append(args, "seccomp=auto")
	}
	for _, s := range cfg.devices() {
		args = append(args, fmt.Sprintf("virtio_uml.device=%s:%d", s.Socket, virtioFsID))
	}
	if LacksAVX(t.Release) {
		// What the kernel does not know becomes the first process's
		// environment.
		args = append(args, withoutAVX...)
	}
	return append(args, cfg.KernelArgs...)
}

// umlHasSeccomp reports whether this User-Mode Linux can catch the system
// calls of its processes by seccomp, which is two to three times as fast as
// by ptrace.
func umlHasSeccomp(kernel string) bool {
	out, _ := exec.Command(kernel, "--help").Output()
	return strings.Contains(string(out), "seccomp=")
}

// umlTemp returns a directory for the kernel's memory: on a tmpfs, since any
// other file system would write it to disk, and one that allows mapping it
// executable. User-Mode Linux reads it from TMPDIR and unlinks its file there
// at once.
func umlTemp() string {
	for _, dir := range []string{"/dev/shm", os.Getenv("XDG_RUNTIME_DIR"), "/run"} {
		if dir != "" && fitForMemory(dir) {
			return dir
		}
	}
	return os.TempDir()
}

// cpuModel is all that TCG emulates but one instruction: QEMU 7.2 loses the
// flags after a cmpxchg16b, which kernels from 6.12 on use to allocate memory.
const cpuModel = "max,-cx16"

// qemuArgs is the command line of QEMU.
func qemuArgs(cfg *Config, t *Tools, direct bool) []string {
	memory := strconv.Itoa(cfg.MemoryMiB) + "M"
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-accel", "tcg,thread=multi", "-cpu", cpuModel,
		"-smp", strconv.Itoa(cfg.CPUs), "-m", memory,
		"-object", "memory-backend-memfd,id=mem,size=" + memory + ",share=on",
		"-machine", "q35,memory-backend=mem",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=link,fd=%d", fdLink),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=link,name=" + linkPort,
	}
	if cfg.Reboots == 0 {
		args = append(args, "-no-reboot")
	}
	for i, s := range cfg.devices() {
		args = append(args,
			"-chardev", fmt.Sprintf("socket,id=share%d,path=%s", i, s.Socket),
			"-device", fmt.Sprintf("vhost-user-fs-pci,chardev=share%d,tag=%s,queue-size=%d,num-request-queues=%d", i, s.Tag, cfg.QueueSize, cfg.RequestQueues))
	}
	kernel := []string{"console=ttyS0", "panic=-1", "quiet", "mitigations=off", "nokaslr"}
	if direct {
		kernel = append(kernel, "rootfstype=virtiofs", "root="+cfg.Root.Tag, rootFlags(cfg.Root), "init="+cfg.Init)
	} else {
		args = append(args, "-initrd", fmt.Sprintf("/proc/self/fd/%d", fdInitrd))
		kernel = append(kernel, "rdinit="+agentPath)
	}
	kernel = append(kernel, cfg.KernelArgs...)
	return append(args, "-kernel", t.Kernel, "-append", strings.Join(kernel, " "))
}

// rootFlags are the kernel parameters for the options of a root share: ro or
// rw, and what else there is.
func rootFlags(s *Share) string {
	mode, rest := "rw", []string{}
	for _, option := range strings.Split(s.Options, ",") {
		switch option {
		case "":
		case "ro", "rw":
			mode = option
		default:
			rest = append(rest, option)
		}
	}
	if len(rest) > 0 {
		return mode + " rootflags=" + strings.Join(rest, ",")
	}
	return mode
}
