package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// modules knows the loadable and built-in modules of one kernel.
type modules struct {
	dir     string              // directory the file names below are relative to
	path    map[string]string   // name → file, such as virtiofs → kernel/fs/fuse/virtiofs.ko.xz
	deps    map[string][]string // name → names it needs, as modules.dep lists them
	builtin map[string]bool
}

// loadModules reads modules.dep and modules.builtin in dir.
func loadModules(dir string) (*modules, error) {
	m := &modules{dir: dir, path: map[string]string{}, deps: map[string][]string{}, builtin: map[string]bool{}}
	for _, file := range []struct {
		name string
		read func(io.Reader) error
	}{
		{"modules.dep", m.readDep},
		{"modules.builtin", m.readBuiltin},
	} {
		f, err := os.Open(filepath.Join(dir, file.name))
		if err != nil {
			return nil, err
		}
		err = file.read(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return m, nil
}

// readDep reads modules.dep(5): one line for each module, its file, a colon,
// the files of the modules it needs.
func (m *modules) readDep(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		file, needs, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return fmt.Errorf("line %d has no colon", n)
		}
		name := moduleName(file)
		if name == "" || name == "." {
			return fmt.Errorf("line %d names no module", n)
		}
		m.path[name] = file
		for _, dep := range strings.Fields(needs) {
			m.deps[name] = append(m.deps[name], moduleName(dep))
		}
	}
	return lines.Err()
}

// readBuiltin reads modules.builtin: one file name a line.
func (m *modules) readBuiltin(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if file := strings.TrimSpace(lines.Text()); file != "" {
			m.builtin[moduleName(file)] = true
		}
	}
	return lines.Err()
}

// moduleName is the name the kernel gives the module in file: dashes are
// underscores, and the suffixes do not belong to it.
func moduleName(file string) string {
	base := path.Base(strings.TrimSpace(file))
	if i := strings.Index(base, ".ko"); i >= 0 {
		base = base[:i]
	}
	return strings.ReplaceAll(base, "-", "_")
}

// builtIn reports whether every one of names is part of the kernel itself.
func (m *modules) builtIn(names ...string) bool {
	for _, name := range names {
		if !m.builtin[moduleName(name)] {
			return false
		}
	}
	return true
}

// resolve returns the files to load for names, each after those it needs and
// none twice. A built-in module needs no file; one that is neither built in
// nor a file is an error.
func (m *modules) resolve(names ...string) ([]string, error) {
	const (
		visiting = 1
		done     = 2
	)
	state := map[string]int{}
	var files []string
	var visit func(name string) error
	visit = func(name string) error {
		switch state[name] {
		case visiting:
			return fmt.Errorf("module %s needs itself", name)
		case done:
			return nil
		}
		file, ok := m.path[name]
		if !ok {
			if m.builtin[name] {
				return nil
			}
			return fmt.Errorf("the kernel of %s has no module %s", m.dir, name)
		}
		state[name] = visiting
		for _, dep := range m.deps[name] {
			if err := visit(dep); err != nil {
				return err
			}
		}
		state[name] = done
		files = append(files, file)
		return nil
	}
	for _, name := range names {
		if err := visit(moduleName(name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}
