package runspec

import (
	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vmm/hermit"
)

// Machine is a machine to be run, as its owner wants it.
type Machine struct {
	// Kernel is the path of an ELF file or of a Hermit image. It is never empty.
	Kernel string
	// KernelArgs and AppArgs are for the kernel and for the application in it.
	KernelArgs, AppArgs []string
	// KernelArgsGiven says that the owner gave arguments, if only the -- between
	// the two kinds: then none of an image's are used.
	KernelArgsGiven bool
	// Env is the guest's environment: K=V, each key once. An image's own comes
	// before it: see [hermit.MergeEnv].
	Env []string
	// HostEnv asks for the environment of this process instead of Env, which is
	// empty then, and of the image's.
	HostEnv bool

	Memory  uint64  // in bytes, at least MinMemory, a multiple of MemoryStep
	CPUs    int     // 1 to MaxCPUs
	ASLR    bool    // the guest begins at a random address
	THP     bool    // its memory is of huge pages where possible
	KSM     bool    // equal pages of it are merged
	CPUPM   bool    // idle vCPUs do not leave the guest
	PIT     bool    // there is a timer as of a PC
	GDBPort *uint16 // the debugger's TCP port; 0 is any that is free, nil is no debugger
	Net     *string // the TAP device of the network; nil is none
	// Affinity has for each vCPU the host's CPU that it runs on; nil leaves it to
	// the host. One may be there twice.
	Affinity []int

	// Mappings are those of --file-mapping and Shares those of --share, by their
	// targets no two of them alike. They are of type [spec.Auto] mostly: whether a
	// source exists, and what it is, is not known yet.
	Mappings, Shares []spec.Mount
	ImageMode        ImageMode
	// IO is how the host's files are read and written.
	IO spec.IO
	// TempDir is where the directory of the run is made; "" is the usual place.
	TempDir string
	Output  Output
	Stats   StatsMode

	Isolation Isolation
	Seccomp   string // one of kill, log, trap, none
	KVM       string // the device file

	// Config is the configuration file that was read, "" if none was.
	Config string
}

// Mounts are all mounts of the guest, mappings first.
func (m *Machine) Mounts() []spec.Mount {
	return append(append(make([]spec.Mount, 0, len(m.Mappings)+len(m.Shares)), m.Mappings...), m.Shares...)
}

// Bounds of what a machine can be.
const (
	// MinMemory is the least memory that a Hermit kernel starts in, in bytes.
	MinMemory = 16 << 20
	// MemoryStep is what the memory is a multiple of, in bytes.
	MemoryStep = hermit.MemoryStep
	// MaxCPUs is vmm.MaxCPUs.
	MaxCPUs = 254
)

// DefaultGDBPort is where the debugger is awaited if no port is named.
const DefaultGDBPort = 6677

// DefaultTAP is the TAP device of --net tap.
const DefaultTAP = "tap10"

func defaults() Machine {
	return Machine{Memory: 64 << 20, CPUs: 1, ASLR: true, Isolation: Normal, Seccomp: "kill", KVM: "/dev/kvm"}
}

// Output says where what the guest writes to its console goes.
type Output struct {
	Kind OutputKind
	Path string // of ToFile: a file that does not exist yet
}

// OutputKind is a kind of [Output].
type OutputKind uint8

const (
	ToStdout OutputKind = iota // to standard output
	ToNone                     // nowhere
	ToFile                     // to a new file
)

// StatsMode says what is told about the run at its end.
type StatsMode uint8

const (
	StatsOff StatsMode = iota
	StatsText
	StatsJSON
)

var statsModes = words[StatsMode]{
	{"text", StatsText}, {"json", StatsJSON}, {"true", StatsText}, {"false", StatsOff},
}

// ImageMode says who serves the files of a Hermit image.
type ImageMode uint8

const (
	External ImageMode = iota // the host, as files of the guest's tree
	Internal                  // the guest's kernel, out of its memory
)

var imageModes = words[ImageMode]{{"external", External}, {"internal", Internal}}

// Isolation says how the process of the machine is closed in by Landlock.
type Isolation uint8

const (
	None   Isolation = iota // not at all
	Normal                  // as well as the host's kernel can
	Strict                  // fully, or the machine does not start
)

var isolations = words[Isolation]{{"none", None}, {"normal", Normal}, {"strict", Strict}}

var seccomps = words[string]{{"kill", "kill"}, {"log", "log"}, {"trap", "trap"}, {"none", "none"}}
