package kvm

import (
	"strings"
	"testing"
)

func TestExtensionIn(t *testing.T) {
	for _, tt := range []struct{ cpuinfo, want string }{
		{"processor\t: 0\nflags\t\t: fpu vmx ssse3\n", "vmx"},
		{"flags : svm\nflags : none\n", "svm"},
		{"flags\t: fpu svm_lock\nvmx flags\t: vnmi\nbugs : vmx\n", ""},
		{"flags\t: fpu\n\nflags\t: vmx\n", ""}, // the first processor counts
		{"", ""},
		{"no colon", ""},
	} {
		if got := extensionIn(strings.NewReader(tt.cpuinfo)); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.cpuinfo, got, tt.want)
		}
	}
}
