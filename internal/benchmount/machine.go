package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where it was measured.
type machine struct {
	Kernel     string `json:"kernel"`
	Processor  string `json:"processor"`
	Count      int    `json:"processors"`
	FileSystem string `json:"fileSystem"`
}

func (m machine) String() string {
	return fmt.Sprintf("Linux %s, %d × %s, on %s", m.Kernel, m.Count, m.Processor, m.FileSystem)
}

// fileSystems names some values of statfs.f_type.
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC:  "ext4",
	unix.XFS_SUPER_MAGIC:   "xfs",
	unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.TMPFS_MAGIC:       "tmpfs",
}

// describe says what this machine is, and what dir lies on. What it cannot find
// out it leaves empty.
func describe(dir string) machine {
	m := machine{Count: runtime.NumCPU()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.Processor = strings.TrimSpace(value)
			break
		}
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		var known bool
		if m.FileSystem, known = fileSystems[int64(st.Type)]; !known {
			m.FileSystem = fmt.Sprintf("file system type %#x", st.Type)
		}
	}
	return m
}
