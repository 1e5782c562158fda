package runspec

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/isthmus-fs/isthmus/internal/spec"
)

// Option is a word of the command line, of the environment and of the configuration
// file, for who makes flags or documents of it.
type Option struct {
	Flag  string // without the dashes; "" where it is an argument
	Short string // one letter, or ""
	Arg   string // what stands for the value in help; "" for what is true or false
	// Bare is the value that the flag without one has, "" if it needs one.
	Bare string
	Env  string // the variable, or ""
	// Section and Key are its place in the configuration file, "" if it has none.
	Section, Key string
	Default      string // what holds if nothing is said, for people
	Help         string
	Values       []string // what to offer for completion; nil if that is no choice
	Repeat       bool     // values add up
	Hidden       bool     // is not for help
}

// Name is what the option is called where it is told which one it is: the flag's name, or the
// key of one that has no flag.
func (o *Option) Name() string {
	if o.Flag != "" {
		return o.Flag
	}
	return o.Key
}

// kinds are the types of TOML that an option takes.
type kinds uint8

const (
	boolean kinds = 1 << iota
	text
	integer
	texts    // an array of strings: one value each
	integers // an array of integers: one value in all
)

// option is an option with what it does.
type option struct {
	Option
	kinds kinds
	// set takes one value, which was said at pos.
	set func(b *build, pos spec.Pos, v string) error
}

// build is a machine that is being put together.
type build struct {
	Machine
	args []string            // kernel_args of the file
	env  []string            // all that was said, "host" too
	at   map[string]spec.Pos // where an option was said last, by its name
}

// assign makes the set of an option with one value.
func assign[V any](parse func(string) (V, error), field func(*build) *V) func(*build, spec.Pos, string) error {
	return func(b *build, _ spec.Pos, s string) error {
		v, err := parse(s)
		if err == nil {
			*field(b) = v
		}
		return err
	}
}

// push makes the set of an option whose values add up.
func push(parse func(string) (string, error), field func(*build) *[]string) func(*build, spec.Pos, string) error {
	return func(b *build, _ spec.Pos, s string) error {
		v, err := parse(s)
		if err == nil {
			*field(b) = append(*field(b), v)
		}
		return err
	}
}

// mount makes the set of an option whose values are mounts.
func mount(parse func(string) (spec.Mount, error), field func(*build) *[]spec.Mount) func(*build, spec.Pos, string) error {
	return func(b *build, pos spec.Pos, s string) error {
		m, err := parse(s)
		if err != nil {
			if e, ok := errors.AsType[*spec.Error](err); ok {
				return errors.New(quote(s) + ": " + e.Text)
			}
			return err
		}
		if m.Pos = pos; pos.Line == 0 {
			m.Pos.Name += " " + quote(s)
		}
		*field(b) = append(*field(b), m)
		return nil
	}
}

func not(s string) (bool, error) {
	b, err := parseBool(s)
	return !b, err
}

// flag is an option that is true or false.
func flag(name, section, key, help string, parse func(string) (bool, error), field func(*build) *bool) option {
	return option{Option{Flag: name, Bare: "true", Section: section, Key: key, Default: "false", Help: help}, boolean, assign(parse, field)}
}

// The sections of the configuration file. uhyve knows nothing of the last one and passes
// over it, so that one file can serve both.
const (
	inUhyve   = "uhyve"
	inMemory  = "memory"
	inCPU     = "cpu"
	inGuest   = "guest"
	inIsthmus = "isthmus"
)

// configFlag is the option that the configuration file is found by.
const configFlag = "config"

var options = []option{
	{Option{Section: inUhyve, Key: "kernel", Arg: "PATH",
		Help: "the Hermit kernel with its application (ELF), or a Hermit image (tar.gz with hermit.toml)"},
		text, assign(parsePath, func(b *build) *string { return &b.Kernel })},
	{Option{Section: inUhyve, Key: "kernel_args", Arg: "ARG", Default: "those of the image", Repeat: true,
		Help: "arguments for the kernel, and behind an element -- those for the application; any argument on the command line replaces them all"},
		texts, push(parseArgument, func(b *build) *[]string { return &b.args })},

	{Option{Flag: "memory-size", Short: "m", Arg: "SIZE", Env: "HERMIT_MEMORY_SIZE", Section: inMemory, Key: "memory_size", Default: "64MiB",
		Help: "the guest's memory: " + wantMemory},
		text | integer, assign(parseMemory, func(b *build) *uint64 { return &b.Memory })},
	flag("no-aslr", inMemory, "no_aslr", "put the guest where it always is, not at a random address",
		not, func(b *build) *bool { return &b.ASLR }),
	flag("thp", inMemory, "thp", "back the guest's memory with transparent huge pages (madvise MADV_HUGEPAGE)",
		parseBool, func(b *build) *bool { return &b.THP }),
	flag("ksm", inMemory, "ksm", "let the host merge equal pages of guests (madvise MADV_MERGEABLE); one guest can find out by it what another holds",
		parseBool, func(b *build) *bool { return &b.KSM }),

	{Option{Flag: "cpu-count", Short: "c", Arg: "N", Env: "HERMIT_CPU_COUNT", Section: inCPU, Key: "cpu_count", Default: "1",
		Help: "the guest's processors (vCPUs)"},
		integer, assign(parseCPUCount, func(b *build) *int { return &b.CPUs })},
	flag("cpu-pm", inCPU, "cpu_pm", "let idle vCPUs keep their processor: MWAIT, HLT, PAUSE and C-states do not leave the guest, as far as the host allows",
		parseBool, func(b *build) *bool { return &b.CPUPM }),
	flag("pit", inCPU, "pit", "give the guest the timer of a PC (i8254)",
		parseBool, func(b *build) *bool { return &b.PIT }),
	{Option{Flag: "affinity", Short: "a", Arg: "CPUS", Section: inCPU, Key: "affinity", Default: off,
		Help: "the host's CPUs that the vCPUs run on, one for each in their order: numbers and ranges such as 0-1,4"},
		text | integers, assign(parseCPUs, func(b *build) *[]int { return &b.Affinity })},

	{Option{Flag: "file-mapping", Arg: "HOST:GUEST", Section: inUhyve, Key: "file_mapping", Repeat: true,
		Help: "a directory or a file of the host, and where the guest has it: HOST[:GUEST[:ro]]; see --share for more"},
		texts, mount(spec.ParseUhyveMapping, func(b *build) *[]spec.Mount { return &b.Mappings })},
	{Option{Flag: "share", Arg: "SPEC", Section: inIsthmus, Key: "share", Repeat: true,
		Help: "a mount with all that isthmus serve has for one: HOST[:GUEST[:OPTION,…]], or OPTION,… with source=HOST and target=GUEST"},
		texts, mount(spec.ParseFlag, func(b *build) *[]spec.Mount { return &b.Shares })},
	{Option{Flag: "env-vars", Short: "e", Arg: "K=V", Section: inGuest, Key: "env_vars", Default: "those of the image", Repeat: true,
		Help: "a variable of the guest's environment; the word " + hostEnv + " gives it the host's environment and nothing else"},
		texts, push(parseEnv, func(b *build) *[]string { return &b.env })},
	{Option{Flag: "hermit-image-mode", Arg: "MODE", Section: inUhyve, Key: "hermit_image_mode", Default: "external", Values: imageModes.all(),
		Help: "who serves the files of a Hermit image: external (the host) or internal (the guest's kernel, from memory)"},
		text, assign(imageModes.parse, func(b *build) *ImageMode { return &b.ImageMode })},
	{Option{Flag: "io-mode", Arg: "MODE", Section: inUhyve, Key: "io_mode", Default: off, Values: []string{"host=direct", "host=sync", "host=direct,sync", off},
		Help: "how files of the host are opened: host=direct (O_DIRECT), host=sync (O_SYNC) or host=direct,sync"},
		text, assign(parseIO, func(b *build) *spec.IO { return &b.IO })},
	{Option{Flag: "tempdir", Arg: "DIR", Section: inUhyve, Key: "tempdir", Default: "$TMPDIR, or /tmp",
		Help: "where the private directory of the run is made, for files that the guest creates outside of all mappings"},
		text, assign(parsePath, func(b *build) *string { return &b.TempDir })},

	{Option{Flag: "net", Short: "n", Arg: "MODE", Section: inUhyve, Key: "net", Default: off,
		Help: "a network device: tap, which is tap:" + DefaultTAP + ", or tap:NAME"},
		text, assign(parseNet, func(b *build) **string { return &b.Net })},
	{Option{Flag: "output", Short: "o", Arg: "FILE", Section: inUhyve, Key: "output", Default: "-",
		Help: "where the guest's console goes: - (standard output), none, or a file that does not exist yet"},
		text, assign(parseOutput, func(b *build) *Output { return &b.Output })},
	{Option{Flag: "stats", Arg: "FORM", Bare: "text", Section: inUhyve, Key: "stats", Default: "false", Values: statsModes.all(),
		Help: "tell at the end how often and for how long each vCPU left the guest: as text, json, or not at all (false)"},
		boolean | text, assign(statsModes.parse, func(b *build) *StatsMode { return &b.Stats })},
	{Option{Flag: "gdb-port", Short: "s", Arg: "PORT", Bare: strconv.Itoa(DefaultGDBPort), Env: "HERMIT_GDB_PORT", Section: inUhyve, Key: "gdb_port", Default: off,
		Help: "wait for a debugger (gdb, target remote) at this TCP port of the loopback device; 0 is any that is free"},
		integer, assign(parsePort, func(b *build) **uint16 { return &b.GDBPort })},

	{Option{Flag: "file-isolation", Arg: "MODE", Section: inUhyve, Key: "file_isolation", Default: "normal", Values: isolations.all(),
		Help: "close the process in by Landlock: none, normal (as well as this host can) or strict (fully, or do not start)"},
		text, assign(isolations.parse, func(b *build) *Isolation { return &b.Isolation })},
	{Option{Flag: "seccomp", Arg: "ACTION", Section: inIsthmus, Key: "seccomp", Default: "kill", Values: seccomps.all(),
		Help: "what a system call that is never made leads to: kill, log, trap or none"},
		text, assign(seccomps.parse, func(b *build) *string { return &b.Seccomp })},
	{Option{Flag: configFlag, Arg: "FILE", Env: "HERMIT_CONFIG", Default: "./uhyve.toml, or uhyve/uhyve.toml in $XDG_CONFIG_HOME (~/.config)",
		Help: "the configuration file; /dev/null is one that says nothing"},
		0, assign(parsePath, func(b *build) *string { return &b.Config })},
	{Option{Flag: "kvm", Arg: "PATH", Default: "/dev/kvm", Help: "the device file of KVM", Hidden: true},
		0, assign(parsePath, func(b *build) *string { return &b.KVM })},
}

// byFlag and byKey find options by their names; the keys of byKey are SECTION.KEY.
var byFlag, byKey = index()

func index() (byFlag, byKey map[string]*option) {
	byFlag, byKey = map[string]*option{}, map[string]*option{}
	for i := range options {
		o := &options[i]
		if o.Flag != "" {
			byFlag[o.Flag] = o
		}
		if o.Key != "" {
			byKey[o.Section+"."+o.Key] = o
		}
	}
	return byFlag, byKey
}

// Options are all options, in the order of help.
func Options() []Option {
	list := make([]Option, len(options))
	for i := range options {
		list[i] = options[i].Option
		list[i].Values = slices.Clone(list[i].Values)
	}
	return list
}

// String is what an option of these kinds takes in TOML.
func (k kinds) String() string {
	var all []string
	for i, name := range [...]string{"true or false", "a string", "a number", "an array of strings", "an array of numbers"} {
		if k&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return list(all)
}

// said takes one value of an option, which was said at pos; key is that of the file, or empty.
func (b *build) said(o *option, pos spec.Pos, key, v string) *spec.Error {
	b.at[o.Name()] = pos
	err := o.set(b, pos, v)
	if err == nil {
		return nil
	}
	why := err.Error()
	if key != "" {
		why = fmt.Sprintf("%s: %s", key, why)
	}
	return &spec.Error{Pos: pos, Text: why}
}
