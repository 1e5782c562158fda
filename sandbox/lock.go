package sandbox

import (
	"fmt"
	"log/slog"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// Lock takes from every thread of the process, and from those to come, all rights
// that serving the share does not take: capabilities, the way back to them, files by
// Landlock, and system calls by seccomp. There is no way back. It comes after [Enter] and
// after all else that takes rights, and returns the layers that are in force,
// to be logged.
//
// Of cfg.Keep a process keeps what it has; one without capabilities has none to
// lose. A kernel without Landlock is told to cfg.Logger and is no error; a layer that
// is refused is one, and the process is not to go on.
func Lock(cfg *Config) (layers []string, err error) {
	if layers, err = renounce(cfg.Keep, dropCaps, cfg.logger()); err != nil {
		return nil, err
	}
	// Landlock first: setting it up takes calls that seccomp then refuses.
	desc, err := applyLandlock(cfg)
	if err != nil {
		return nil, fmt.Errorf("landlock: %w", err)
	}
	if desc != "" {
		layers = append(layers, desc)
	}
	if err := applySeccomp(cfg); err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	if cfg.Seccomp != SeccompNone {
		layers = append(layers, "seccomp: "+cfg.Seccomp.String())
	}
	return layers, nil
}

// renounce gives up all capabilities but those of keep by drop, and the ways to get any back.
func renounce(keep Caps, drop func(Caps) error, log *slog.Logger) (layers []string, err error) {
	have, err := threadCapSets()
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	if lacks := keep &^ have.permitted; lacks != 0 && have.permitted != 0 {
		log.Warn("the process was started without some of the capabilities that it is to keep", "missing", lacks.String())
	}
	keep &= have.permitted
	if err := drop(keep); err != nil {
		return nil, err
	}
	if err := noNewPrivs(); err != nil {
		return nil, err
	}
	return []string{"capabilities: " + keep.String(), "no_new_privs"}, nil
}

// dropCaps leaves every thread of the process with the capabilities of keep,
// which it has, permitted and effective, and with no way to others: none to inherit
// and none outside keep in the bounding set.
func dropCaps(keep Caps) error {
	if err := dropBound(keep); err != nil {
		return err
	}
	return clearCaps(keep)
}

// clearCaps is dropCaps without the bounding set. That holds what a program file could
// give, and so nothing with no_new_privs; to empty it stops all threads once for each of
// some forty capabilities.
func clearCaps(keep Caps) error {
	if err := prctlAll(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return fmt.Errorf("clear the ambient capabilities: %w", err)
	}
	if err := setAllCapSets(capSets{effective: keep, permitted: keep}); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}

// dropBound takes all but keep out of the bounding set of every thread. That takes
// CAP_SETPCAP; without it the set stays, which then only no_new_privs makes useless.
func dropBound(keep Caps) error {
	have, err := threadCapSets()
	if err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if !have.effective.Has(unix.CAP_SETPCAP) {
		return nil
	}
	last, err := capability.LastCap()
	if err != nil {
		return fmt.Errorf("find the highest capability: %w", err)
	}
	for n := range int(last) + 1 {
		if keep.Has(n) {
			continue
		}
		if err := prctlAll(unix.PR_CAPBSET_DROP, uintptr(n)); err != nil {
			return fmt.Errorf("drop %s from the bounding set: %w", capability.Cap(n), err)
		}
	}
	return nil
}

// noNewPrivs makes it impossible for every thread to gain rights by running a program.
func noNewPrivs() error {
	if err := prctlAll(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}
