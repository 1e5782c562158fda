package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Environment variables that name a tool instead of leaving the search to
// [Find].
const (
	EnvUML           = "ISTHMUS_UML"            // linux.uml
	EnvUMLModules    = "ISTHMUS_UML_MODULES"    // its module directory, the one with modules.dep
	EnvQEMU          = "ISTHMUS_QEMU"           // qemu-system-x86_64
	EnvKernel        = "ISTHMUS_KERNEL"         // vmlinuz for QEMU
	EnvKernelModules = "ISTHMUS_KERNEL_MODULES" // its module directory
	EnvBusybox       = "ISTHMUS_BUSYBOX"        // a static busybox
	EnvInit          = "ISTHMUS_INIT"           // the guest's first process, see Config.Agent
)

// Tools are the programs and files that a guest is made of.
type Tools struct {
	Kernel  string // linux.uml or a vmlinuz
	Release string // of that kernel
	Modules string // its module directory
	QEMU    string // with kind QEMU
	Busybox string // the guest's shell and tools
}

// MissingError says what is not installed and how to get it.
type MissingError struct {
	What    string // in words
	Package string // Debian package that has it
	Env     string // environment variable that may name it instead
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s was not found: install the package %s (apt install %s), or name it in %s", e.What, e.Package, e.Package, e.Env)
}

// The kernels of Debian that QEMU boots have everything needed; the cloud one
// is the smallest.
const kernelPackage = "linux-image-cloud-amd64"

// Find locates what a guest of the kind needs. Anything missing is a
// [*MissingError].
func Find(kind Kind) (Tools, error) {
	return find(kind, "")
}

// find is Find with the kernel given, unless it is "".
func find(kind Kind, kernel string) (Tools, error) {
	var t Tools
	var err error
	if t.Busybox, err = findProgram(EnvBusybox, "busybox", "a statically linked busybox", "busybox-static"); err != nil {
		return t, err
	}
	if !isStatic(t.Busybox) {
		return t, &MissingError{"a statically linked busybox (" + t.Busybox + " is not one)", "busybox-static", EnvBusybox}
	}
	if kind == QEMU {
		if t.QEMU, err = findProgram(EnvQEMU, "qemu-system-x86_64", "QEMU", "qemu-system-x86"); err != nil {
			return t, err
		}
		return t, t.findKernel(kernel)
	}
	return t, t.findUML(kernel)
}

// findProgram returns the program named in the environment variable env or,
// if that is unset, name from PATH and the directories of root.
func findProgram(env, name, what, pkg string) (string, error) {
	if file := os.Getenv(env); file != "" {
		file, err := exec.LookPath(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", env, err)
		}
		return filepath.Abs(file)
	}
	for _, try := range []string{name, "/usr/sbin/" + name, "/usr/bin/" + name, "/sbin/" + name, "/bin/" + name} {
		if file, err := exec.LookPath(try); err == nil {
			return filepath.Abs(file)
		}
	}
	return "", &MissingError{what, pkg, env}
}

func (t *Tools) findUML(kernel string) error {
	var err error
	if t.Kernel = kernel; kernel == "" {
		if t.Kernel, err = findProgram(EnvUML, "linux.uml", "User-Mode Linux (linux.uml)", "user-mode-linux"); err != nil {
			return err
		}
	}
	out, err := exec.Command(t.Kernel, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", t.Kernel, withStderr(err))
	}
	t.Release = strings.TrimSpace(string(out))
	real, err := filepath.EvalSymlinks(t.Kernel)
	if err != nil {
		return err
	}
	t.Modules, err = findModules(EnvUMLModules, "user-mode-linux", t.Release,
		filepath.Join(filepath.Dir(real), "../lib/uml/modules", t.Release),
		filepath.Join("/usr/lib/uml/modules", t.Release))
	return err
}

// findKernel finds the newest vmlinuz in /boot that has modules.
func (t *Tools) findKernel(kernel string) error {
	if kernel == "" {
		kernel = os.Getenv(EnvKernel)
	}
	candidates := []string{kernel}
	if kernel == "" {
		candidates, _ = filepath.Glob("/boot/vmlinuz-*")
		slices.SortFunc(candidates, func(a, b string) int { return -compareVersions(a, b) })
	}
	var firstErr error
	for _, file := range candidates {
		release := strings.TrimPrefix(filepath.Base(file), "vmlinuz-")
		dir, err := findModules(EnvKernelModules, kernelPackage, release,
			filepath.Join(filepath.Dir(file), "../lib/modules", release),
			filepath.Join(filepath.Dir(file), "../usr/lib/modules", release),
			filepath.Join("/lib/modules", release))
		if err == nil {
			var f *os.File
			if f, err = os.Open(file); err == nil {
				f.Close()
				t.Kernel, t.Release, t.Modules = file, release, dir
				return nil
			}
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	if firstErr != nil && !errors.As(firstErr, new(*MissingError)) {
		return fmt.Errorf("kernel for QEMU: %w", firstErr)
	}
	if kernel != "" && firstErr != nil {
		return firstErr
	}
	return &MissingError{"a kernel with modules (/boot/vmlinuz-*)", kernelPackage, EnvKernel}
}

// findModules returns the directory in env or else the first of dirs that
// holds a modules.dep.
func findModules(env, pkg, release string, dirs ...string) (string, error) {
	if dir := os.Getenv(env); dir != "" {
		dirs = []string{dir}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "modules.dep")); err == nil {
			return filepath.Clean(dir), nil
		}
	}
	return "", &MissingError{"the module directory of kernel " + release + " (" + strings.Join(dirs, ", ") + ")", pkg, env}
}

// compareVersions compares file names such as vmlinuz-6.1.0-56-cloud-amd64:
// digits as numbers, the rest as text.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			va, _ := strconv.ParseUint(a[:na], 10, 64)
			vb, _ := strconv.ParseUint(b[:nb], 10, 64)
			if va != vb {
				return map[bool]int{true: -1, false: 1}[va < vb]
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// digits counts the decimal digits s starts with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

// withStderr adds what a failed program printed to its error.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// sourceMode is the mode a file gets in the guest.
func (f File) sourceMode(info fs.FileInfo) fs.FileMode {
	if f.Mode != 0 {
		return f.Mode
	}
	return info.Mode()
}
