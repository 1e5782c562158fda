package hermittest

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

//go:embed testdata/guest
var sources embed.FS

// Kernel is a kernel that is made of the guest's sources.
type Kernel struct {
	Name string
	// Interface is what its note says, or 1 for one without.
	Interface int
	// Legacy is set for one of the time before the ABI tag.
	Legacy bool
	// Fixed is set for one that has an address.
	Fixed bool

	flags []string
	tiny  bool // of empty.S
}

// Kernels are all that [Build] makes. The last two are a few instructions long: Empty
// ends at once, Hello writes a byte to the console before.
var Kernels = []Kernel{
	{Name: "legacy-exec", Interface: 1, Legacy: true, Fixed: true, flags: []string{"-DLEGACY", "-DINTERFACE=1"}},
	{Name: "legacy-pie", Interface: 1, Legacy: true, flags: []string{"-DLEGACY", "-DINTERFACE=1"}},
	{Name: "v1", Interface: 1, flags: []string{"-DINTERFACE=1", "-DINTERFACE_NOTE=1"}},
	{Name: "v2", Interface: 2, flags: []string{"-DINTERFACE=2", "-DINTERFACE_NOTE=2"}},
	{Name: "v3", Interface: 3, flags: []string{"-DINTERFACE=3", "-DINTERFACE_NOTE=3"}},
	{Name: Empty, Interface: 3, tiny: true, flags: []string{"-DINTERFACE_NOTE=3"}},
	{Name: Hello, Interface: 3, tiny: true, flags: []string{"-DINTERFACE_NOTE=3", "-DHELLO"}},
}

// Names of kernels that are for measuring.
const (
	Empty = "empty"
	Hello = "hello"
)

// Flags of gcc. No instruction may touch what a guest without a handler for interrupts
// cannot use, and nothing may be added that the loader or an old processor does not know.
var (
	compileFlags = []string{
		"-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin", "-fno-stack-protector",
		"-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-fvisibility=hidden", "-mno-red-zone", "-mgeneral-regs-only",
	}
	linkFlags = []string{
		"-nostdlib", "-Wl,--build-id=none", "-Wl,-z,nocombreloc", "-Wl,-z,norelro", "-Wl,-z,noexecstack", "-Wl,--hash-style=sysv",
		"-Wl,-z,max-page-size=4096",
	}
	// With -shared, names that are exported are looked up: a static position-independent
	// program has relative relocations only.
	pieFlags = []string{"-fPIC", "-fno-plt", "-shared"}
	exeFlags = []string{"-fno-pic", "-no-pie", "-static"}
)

// Build compiles the kernels into a directory, each to a file of its name.
func Build(dir string) error {
	if _, err := exec.LookPath("gcc"); err != nil {
		return errors.New("the test guest is made by gcc: install gcc and binutils (Debian: apt-get install gcc)")
	}
	src, err := os.MkdirTemp("", "isthmus-guest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(src)
	files, err := sources.ReadDir("testdata/guest")
	if err != nil {
		return err
	}
	var code []string
	for _, f := range files {
		text, err := sources.ReadFile("testdata/guest/" + f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(src, f.Name()), text, 0o644); err != nil {
			return err
		}
		if ext := filepath.Ext(f.Name()); ext == ".c" || f.Name() == "start.S" || f.Name() == "notes.S" {
			code = append(code, f.Name())
		}
	}
	errs := make([]error, len(Kernels))
	var all sync.WaitGroup
	for i := range Kernels {
		all.Go(func() { errs[i] = Kernels[i].build(src, code, filepath.Join(dir, Kernels[i].Name)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (k *Kernel) build(src string, code []string, to string) error {
	args := append(append([]string{}, compileFlags...), linkFlags...)
	script := "pie.lds"
	switch {
	case k.tiny:
		script, code = "empty.lds", []string{"empty.S", "notes.S"}
	case k.Fixed:
		script = "exec.lds"
	}
	if k.Fixed {
		args = append(args, exeFlags...)
	} else {
		args = append(args, pieFlags...)
	}
	args = append(args, "-Wl,-T,"+script, "-o", to)
	args = append(append(args, k.flags...), code...)
	gcc := exec.Command("gcc", args...)
	gcc.Dir = src
	if out, err := gcc.CombinedOutput(); err != nil {
		return fmt.Errorf("gcc %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return brand(to)
}

// brand marks an ELF file as one for no operating system, which gcc cannot.
func brand(path string) error {
	const osabi, standalone = 7, 0xff
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte{standalone}, osabi); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
