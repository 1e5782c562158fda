package kvm

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Error is an ioctl that failed.
type Error struct {
	Call  string // as in the API text, such as "KVM_CREATE_VM"
	Errno syscall.Errno
}

func (e *Error) Error() string { return e.Call + ": " + e.Errno.Error() }

// Unwrap returns the Errno.
func (e *Error) Unwrap() error { return e.Errno }

// OpenError says why there is no KVM to be used. Errors.Is finds the Errno, so
// fs.ErrNotExist and fs.ErrPermission too.
type OpenError struct {
	Path   string
	Err    error  // a syscall.Errno, an *Error, a VersionError or a *MissingError
	Advice string // what to do about it, one clause; "" if nothing better than Err is known
}

func (e *OpenError) Error() string {
	if e.Advice == "" {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Path, e.Err, e.Advice)
}

// Unwrap returns Err.
func (e *OpenError) Unwrap() error { return e.Err }

// VersionError is an API version that is not the one known here. The kernel says
// 12 since 2007 and promises never to say anything else.
type VersionError int

func (v VersionError) Error() string {
	return fmt.Sprintf("KVM_GET_API_VERSION: %d, not %d", int(v), API_VERSION)
}

// MissingError says which capabilities a KVM lacks.
type MissingError struct {
	Caps []Cap
}

func (e *MissingError) Error() string {
	names := make([]string, len(e.Caps))
	for i, c := range e.Caps {
		names[i] = c.String()
	}
	return "this KVM lacks " + strings.Join(names, ", ")
}

// MSRError says which model-specific register KVM refused.
type MSRError struct {
	Call  string
	Index uint32
}

func (e *MSRError) Error() string { return fmt.Sprintf("%s: MSR %#x refused", e.Call, e.Index) }

// openAdvice says what helps against an error of opening /dev/kvm.
var openAdvice = [...]struct {
	errno  syscall.Errno
	advice string
}{
	{syscall.ENOENT, "load the module kvm_intel or kvm_amd; if it refuses, virtualisation is off in the firmware, or this is a guest without nested virtualisation"},
	{syscall.ENXIO, "the device file is there but no module behind it: load kvm_intel or kvm_amd"},
	{syscall.ENODEV, "the device file is there but no module behind it: load kvm_intel or kvm_amd"},
	{syscall.EACCES, "add this user to the group that owns the file (kvm on most distributions), and log in again"},
	{syscall.EPERM, "the container or sandbox around this process does not allow the device"},
	{syscall.EBUSY, "another hypervisor is using the processor's virtualisation"},
	{syscall.ENOTTY, "that is no KVM device"},
}

// openError makes the error of [Open] from the reason.
func openError(path string, err error) *OpenError {
	e := &OpenError{Path: path, Err: err}
	var version VersionError
	var missing *MissingError
	switch {
	case errors.As(err, &version):
		e.Advice = "that is no KVM of Linux"
	case errors.As(err, &missing):
		e.Advice = "Linux 4.12 or later is needed"
	default:
		for _, a := range &openAdvice {
			if errors.Is(err, a.errno) {
				e.Advice = a.advice
				break
			}
		}
	}
	return e
}
