package lab

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What the agent finds in the initramfs.
const (
	agentDir  = "/.isthmus"
	agentPath = agentDir + "/init"
	bootPath  = agentDir + "/boot.json"
)

// bootInfo is what the agent must know before the link works.
type bootInfo struct {
	Link    string   // device file, or "port:NAME" for a virtio-serial port
	Modules []string // files to load, in this order
}

// writeInitramfs builds the initramfs as an anonymous file, its offset at the
// start. The caller closes it.
func writeInitramfs(cfg *Config, t *Tools, mods *modules) (_ *os.File, err error) {
	fd, err := unix.MemfdCreate("isthmus-initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	mem := os.NewFile(uintptr(fd), "initramfs")
	defer func() {
		if err != nil {
			mem.Close()
		}
	}()
	w := bufio.NewWriterSize(mem, 1<<20)
	c := newCpioWriter(w)
	if err := fillInitramfs(c, cfg, t, mods); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	if err := c.close(); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	_, err = mem.Seek(0, 0)
	return mem, err
}

func fillInitramfs(c *cpioWriter, cfg *Config, t *Tools, mods *modules) error {
	agent, err := agentProgram(cfg.Agent)
	if err != nil {
		return err
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "mnt", "root", "run", "etc", "bin", "sbin", "usr/bin", "usr/sbin", newRoot} {
		if err := c.dir(dir, 0o755); err != nil {
			return err
		}
	}
	// The kernel opens it as the agent's standard streams before /dev is
	// mounted.
	if err := c.device("dev/console", 0o600, 5, 1); err != nil {
		return err
	}
	files := append([]File{
		{Path: agentPath, Mode: 0o755, Source: agent},
		{Path: "bin/busybox", Mode: 0o755, Source: t.Busybox},
	}, cfg.Files...)
	for _, f := range files {
		if err := addFile(c, f); err != nil {
			return err
		}
	}
	if err := addBytes(c, "etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")); err != nil {
		return err
	}
	if err := addBytes(c, "etc/group", []byte("root:x:0:\nnogroup:x:65534:\n")); err != nil {
		return err
	}
	boot := bootInfo{Link: linkDevice[cfg.Kind]}
	if boot.Modules, err = addModules(c, mods, append(kindModules[cfg.Kind], cfg.Modules...)); err != nil {
		return err
	}
	text, err := json.Marshal(boot)
	if err != nil {
		return err
	}
	return addBytes(c, bootPath, text)
}

// agentProgram returns the program for the guest's first process.
func agentProgram(file string) (string, error) {
	if file == "" {
		file = os.Getenv(EnvInit)
	}
	if file == "" {
		var err error
		if file, err = os.Executable(); err != nil {
			return "", err
		}
	}
	if !isStatic(file) {
		return "", fmt.Errorf("%s cannot be the guest's first process: it is no statically linked program (build with CGO_ENABLED=0, or name one in %s)", file, EnvInit)
	}
	return file, nil
}

// isStatic reports whether file is an ELF program that needs no loader.
func isStatic(file string) bool {
	f, err := elf.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

func addFile(c *cpioWriter, f File) error {
	src, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", f.Source)
	}
	return c.file(f.Path, f.sourceMode(info), info.Size(), src)
}

func addBytes(c *cpioWriter, name string, content []byte) error {
	return c.file(name, 0o644, int64(len(content)), bytes.NewReader(content))
}

// addModules adds the modules called names with those they need, and returns
// where they lie in the guest, in load order.
func addModules(c *cpioWriter, mods *modules, names []string) ([]string, error) {
	files, err := mods.resolve(names...)
	if err != nil {
		return nil, err
	}
	var loaded []string
	for _, file := range files {
		content, err := readModule(filepath.Join(mods.dir, file))
		if err != nil {
			return nil, err
		}
		guest := agentDir + "/modules/" + moduleName(file) + ".ko"
		if err := addBytes(c, guest, content); err != nil {
			return nil, err
		}
		loaded = append(loaded, guest)
	}
	return loaded, nil
}

// unpackers turn a compressed module into a plain one, by its suffix. The
// kernel of the guest need not be able to.
var unpackers = map[string]struct {
	command []string
	pkg     string
}{
	".xz":  {[]string{"xz", "-dc"}, "xz-utils"},
	".zst": {[]string{"zstd", "-dc"}, "zstd"},
}

// readModule returns the content of a module file, unpacked.
func readModule(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	suffix := filepath.Ext(file)
	if suffix == ".gz" {
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		var out bytes.Buffer
		if _, err := out.ReadFrom(z); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return out.Bytes(), nil
	}
	u, ok := unpackers[suffix]
	if !ok {
		return content, nil
	}
	if _, err := exec.LookPath(u.command[0]); err != nil {
		return nil, fmt.Errorf("%s: %s was not found: install the package %s", file, u.command[0], u.pkg)
	}
	cmd := exec.Command(u.command[0], u.command[1:]...)
	cmd.Stdin = bytes.NewReader(content)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", file, strings.Join(u.command, " "), withStderr(err))
	}
	return out, nil
}
