package sandbox

import (
	"fmt"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// Caps is a set of capabilities: bit n stands for capability n (linux/capability.h).
type Caps uint64

// capsOf is the set of the given capabilities.
func capsOf(list ...int) Caps {
	var c Caps
	for _, n := range list {
		c |= 1 << n
	}
	return c
}

// serverCaps are what serving files for guests with users of their own takes:
// to act as the guest's users, to act for its root, and to make what only
// root may make.
var serverCaps = capsOf(unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_MKNOD, unix.CAP_SETFCAP)

// ServerCaps is the set that a file server keeps, the same as virtiofsd's:
// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID, MKNOD and SETFCAP; to open
// by file handle takes DAC_READ_SEARCH too.
func ServerCaps(fileHandles bool) Caps {
	if fileHandles {
		return serverCaps | capsOf(unix.CAP_DAC_READ_SEARCH)
	}
	return serverCaps
}

// Has tells whether a capability (unix.CAP_*) is in the set.
func (c Caps) Has(capability int) bool {
	return capability >= 0 && capability < 64 && c&(1<<capability) != 0
}

// Modify is the set with the changes of virtiofsd's option --modcaps: items
// separated by colons, each a sign, + to add and - to take away, and a name
// without CAP_ in letters of any case, such as "+sys_admin:-mknod". They are applied
// in order.
func (c Caps) Modify(spec string) (Caps, error) {
	for item := range strings.SplitSeq(spec, ":") {
		if item == "" {
			return 0, fmt.Errorf("capabilities %q: an item is empty; write +name or -name, separated by colons", spec)
		}
		sign, name := item[0], item[1:]
		if sign != '+' && sign != '-' {
			return 0, fmt.Errorf("capabilities %q: %q begins with neither + nor -", spec, item)
		}
		n, ok := capNames[strings.ToLower(name)]
		if !ok {
			return 0, fmt.Errorf("capabilities %q: unknown capability %q; names are as in capabilities(7), without CAP_", spec, name)
		}
		if sign == '+' {
			c |= 1 << n
		} else {
			c &^= 1 << n
		}
	}
	return c, nil
}

// String is the names in the order of their numbers, or "none".
func (c Caps) String() string {
	var names []string
	for n := range 64 {
		if c.Has(n) {
			names = append(names, capability.Cap(n).String())
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// capNames are the numbers of the capabilities that the kernel's headers name.
var capNames = func() map[string]int {
	names := make(map[string]int)
	for _, c := range capability.ListKnown() {
		names[c.String()] = int(c)
	}
	return names
}()
