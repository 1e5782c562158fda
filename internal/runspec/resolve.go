package runspec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/spec"
	"github.com/isthmus-fs/isthmus/vmm/hermit"
)

// Said is one flag of the command line.
type Said struct {
	Flag  string // without the dashes
	Value string
}

// Input is what a machine is made of.
type Input struct {
	Flags     []Said // in their order; of two the later one holds
	Arguments Arguments
	// LookupEnv is as [os.LookupEnv].
	LookupEnv func(string) (string, bool)
	// AllowedCPUs are the host's CPUs that this process may run on, as sched_getaffinity(2)
	// has them. It is asked only if there is an affinity.
	AllowedCPUs func() ([]int, error)
}

// Resolve puts a machine together. warnings are what the owner should know besides. The
// errors are [*spec.Error], joined, but for what the system says about the configuration file
// and about CPUs.
func (in *Input) Resolve() (m *Machine, warnings []string, err error) {
	b := &build{Machine: defaults(), at: map[string]spec.Pos{}}
	problems, err := b.readConfig(in)
	if err != nil {
		return nil, nil, err
	}
	problems = append(problems, b.readEnv(in)...)
	for _, s := range in.Flags {
		o := byFlag[s.Flag]
		if o == nil {
			return nil, nil, fmt.Errorf("--%s: there is no such option", s.Flag)
		}
		if err := b.said(o, flagPos(o), "", s.Value); err != nil {
			problems = append(problems, err)
		}
	}
	if err := joined(problems); err != nil {
		return nil, nil, err
	}
	b.settleArguments(&in.Arguments)
	warnings = b.settleEnv()
	if err := errors.Join(b.checkKernel(), b.checkAffinity(in.AllowedCPUs), spec.Check(b.Mounts())); err != nil {
		return nil, nil, err
	}
	return &b.Machine, warnings, nil
}

// maxErrors is how many mistakes are told at once.
const maxErrors = 20

func joined(problems []error) error {
	return errors.Join(problems[:min(len(problems), maxErrors)]...)
}

func flagPos(o *option) spec.Pos { return spec.Pos{Name: "--" + o.Flag} }

// readEnv takes the variables of the environment, but for what the command line says.
func (b *build) readEnv(in *Input) (problems []error) {
	for i := range options {
		o := &options[i]
		v, given := in.lookup(o.Env)
		if !given || slices.ContainsFunc(in.Flags, func(s Said) bool { return s.Flag == o.Flag }) {
			continue
		}
		if err := b.said(o, spec.Pos{Name: o.Env}, "", v); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// lookup is a variable of the environment that is not empty.
func (in *Input) lookup(name string) (v string, given bool) {
	if name == "" || in.LookupEnv == nil {
		return "", false
	}
	v, _ = in.LookupEnv(name)
	return v, v != ""
}

// configs are the files that may be the configuration file, the first of them first. The
// one that was asked for must exist, and by says where that was.
func (in *Input) configs() (paths []string, by spec.Pos) {
	o := byFlag[configFlag]
	if i := lastIndex(in.Flags, configFlag); i >= 0 {
		return []string{in.Flags[i].Value}, flagPos(o)
	}
	if v, given := in.lookup(o.Env); given {
		return []string{v}, spec.Pos{Name: o.Env}
	}
	const name = "uhyve.toml"
	paths = []string{name}
	dir, _ := in.lookup("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home, _ := in.lookup("HOME")
		dir = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(dir) {
		paths = append(paths, filepath.Join(dir, "uhyve", name))
	}
	return paths, by
}

func lastIndex(flags []Said, name string) int {
	for i, s := range slices.Backward(flags) {
		if s.Flag == name {
			return i
		}
	}
	return -1
}

// readConfig reads the configuration file, if there is one.
func (b *build) readConfig(in *Input) (problems []error, err error) {
	paths, by := in.configs()
	for _, path := range paths {
		if by != (spec.Pos{}) {
			if _, err := parsePath(path); err != nil {
				return nil, &spec.Error{Pos: by, Text: err.Error()}
			}
		}
		doc, err := readBounded(path)
		absent := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, os.ErrPermission) && isHidden(path)
		switch {
		case err == nil:
			problems = b.readTOML(doc, path)
			b.Config = path
			return problems, nil
		case by != (spec.Pos{}):
			return nil, fmt.Errorf("%v: configuration file: %w", by, err)
		case !absent:
			return nil, fmt.Errorf("configuration file: %w", err)
		}
	}
	return nil, nil
}

// isHidden says that a file is in a directory that this user has no way into, such as the
// home of another, which sudo and its like may leave in the environment.
func isHidden(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrPermission)
}

// readBounded reads a file of at most [spec.MaxConfig] bytes.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := io.ReadAll(io.LimitReader(f, spec.MaxConfig+1))
	if err == nil && len(doc) > spec.MaxConfig {
		err = &spec.Error{Pos: spec.Pos{Name: path}, Text: fmt.Sprintf("it is too long: want at most %d bytes", spec.MaxConfig)}
	}
	return doc, err
}

// settleArguments takes the arguments of the command line, or if these are none, those
// of the file.
func (b *build) settleArguments(a *Arguments) {
	if a.Kernel != "" {
		b.Kernel = a.Kernel
	}
	if a.Given {
		b.KernelArgs, b.AppArgs, b.KernelArgsGiven = a.KernelArgs, a.AppArgs, true
		return
	}
	b.KernelArgs, b.AppArgs = hermit.SplitArguments(b.args)
	b.KernelArgsGiven = len(b.args) > 0
}

// settleEnv decides what the guest's environment is.
func (b *build) settleEnv() (warnings []string) {
	vars := hermit.MergeEnv(nil, slices.DeleteFunc(b.env, func(s string) bool {
		b.HostEnv = b.HostEnv || s == hostEnv
		return s == hostEnv
	}))
	switch {
	case !b.HostEnv:
		b.Env = vars
	case len(vars) > 0:
		for i := range vars {
			vars[i], _, _ = strings.Cut(vars[i], "=")
		}
		return []string{fmt.Sprintf("env-vars: with %s the guest has the environment of the host alone, without %s", hostEnv, quote(strings.Join(vars, " ")))}
	}
	return nil
}

func (b *build) checkKernel() error {
	if b.Kernel == "" {
		why := "no kernel to run: name a Hermit kernel or image, or have the configuration file say kernel in [uhyve]"
		if len(b.AppArgs) > 0 {
			why += "; what follows a single -- is for the application"
		}
		return &spec.Error{Text: why}
	}
	if _, err := parsePath(b.Kernel); err != nil {
		return &spec.Error{Text: "kernel " + err.Error()}
	}
	return nil
}

func (b *build) checkAffinity(allowed func() ([]int, error)) error {
	if b.Affinity == nil {
		return nil
	}
	pos := b.at["affinity"]
	if len(b.Affinity) != b.CPUs {
		return &spec.Error{Pos: pos, Text: fmt.Sprintf("it has %d CPUs, and there are %d vCPUs%s: want one for each", len(b.Affinity), b.CPUs, b.from("cpu-count"))}
	}
	can, err := allowed()
	if err != nil {
		return fmt.Errorf("%v: ask for the CPUs of this process: %w", pos, err)
	}
	for _, cpu := range b.Affinity {
		if !slices.Contains(can, cpu) {
			return &spec.Error{Pos: pos, Text: fmt.Sprintf("this process may not run on CPU %d: want some of %s", cpu, formatCPUs(can))}
		}
	}
	return nil
}

// from says where an option was said, if it was.
func (b *build) from(name string) string {
	if pos, said := b.at[name]; said {
		return " (" + pos.String() + ")"
	}
	return ""
}
