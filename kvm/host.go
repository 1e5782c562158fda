package kvm

import (
	"bufio"
	"io"
	"os"
	"strings"
	"sync"
)

// HostExtension names the processor's extension that a KVM of hardware is made of: "vmx"
// (Intel), "svm" (AMD), or "" if this host has neither. A KVM can be there all the same,
// of software, which interprets what a guest's kernel does.
func HostExtension() string { return hostExtension() }

var hostExtension = sync.OnceValue(func() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	return extensionIn(f)
})

// extensionIn reads a text as /proc/cpuinfo has it.
func extensionIn(r io.Reader) string {
	for sc := bufio.NewScanner(r); sc.Scan(); {
		key, flags, ok := strings.Cut(sc.Text(), ":")
		if !ok || strings.TrimSpace(key) != "flags" {
			continue
		}
		for flag := range strings.FieldsSeq(flags) {
			if flag == "vmx" || flag == "svm" {
				return flag
			}
		}
		return ""
	}
	return ""
}
