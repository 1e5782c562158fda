package sandbox

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// StrictABI is the version of Landlock that [IsolationStrict] asks for: the first, of Linux
// 5.13, which has the rights to open, list, change, make, remove and execute files. What
// later ones know besides is used where the kernel has it. Before the third (Linux 6.2)
// opening a file with O_RDONLY and O_TRUNC is not a change; that a guest cannot do this to
// a read-only share is up to the file tree alone there.
const StrictABI = 1

// landlockVersions are all rights that a version of Landlock can refuse, by its number.
var landlockVersions = [...]landlock.Config{
	1: landlock.V1, 2: landlock.V2, 3: landlock.V3, 4: landlock.V4, 5: landlock.V5, 6: landlock.V6,
	7: landlock.V7, 8: landlock.V8, 9: landlock.V9, 10: landlock.V10, 11: landlock.V11,
}

// machineFeatures are what is refused outside of a machine's shares, and the ABI that
// brought it.
var machineFeatures = []struct {
	abi  int
	what string
}{
	{1, "files outside the shares"},
	{3, "truncation outside"},
	{4, "TCP"},
	{5, "control of devices"},
	{6, "signals to outside"},
	{6, "abstract sockets"},
	{9, "named sockets"},
	{10, "UDP"},
}

// landlockMachine forbids every thread of the process, and those to come, all that Landlock
// can forbid, but for the shares. desc says what is in force; it is empty if nothing is.
//
// Rights that a kernel has are asked for without a second best: it either enforces all of
// them or the machine does not run.
func landlockMachine(cfg *MachineConfig, log *slog.Logger) (desc string, err error) {
	if cfg.Isolation == IsolationNone {
		return "", nil
	}
	if cfg.Isolation > IsolationNone {
		return "", fmt.Errorf("unknown isolation %s", cfg.Isolation)
	}
	probe := cfg.abi
	if probe == nil {
		probe = landlockABI
	}
	abi, err := probe()
	strict := cfg.Isolation == IsolationStrict
	switch {
	case strict && err != nil:
		return "", fmt.Errorf("this kernel has none: %w; strict isolation needs it (Linux 5.13), normal does without", err)
	case err != nil:
		log.Warn("this kernel has no Landlock: only the user's permissions and the guest's mappings keep the machine from other files", "reason", err)
		return "", nil
	case strict && abi < StrictABI:
		return "", fmt.Errorf("this kernel has version %d, and strict isolation needs version %d", abi, StrictABI)
	}
	refuse := landlockVersions[min(abi, len(landlockVersions)-1)]
	rules, err := machineRules(cfg, refuse.HandledAccessFS)
	if err != nil {
		return "", err
	}
	if err := refuse.Restrict(rules...); err != nil {
		return "", err
	}
	var refused []string
	for _, f := range machineFeatures {
		if abi >= f.abi {
			refused = append(refused, f.what)
		}
	}
	return fmt.Sprintf("Landlock ABI %d: no %s", abi, strings.Join(refused, ", no ")), nil
}

// machineRules allow what the machine needs, of the rights that the kernel knows.
//
// Moving into another directory (REFER) cannot be allowed under ABI 1. A machine loses
// nothing by that: no hypercall moves a file.
func machineRules(cfg *MachineConfig, known landlock.AccessFSSet) ([]landlock.Rule, error) {
	var rules []landlock.Rule
	for _, s := range cfg.Shares {
		rights, err := shareRights(s.Path, s.ReadOnly)
		if err != nil {
			return nil, err
		}
		rules = append(rules, landlock.PathAccess(rights&known, s.Path))
	}
	for _, dir := range cfg.Removals {
		rules = append(rules, landlock.PathAccess(ll.AccessFSRemoveFile&known, procPath(dir)))
	}
	return rules, nil
}
