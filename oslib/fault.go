package oslib

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// FaultError says that memory shared with a guest was gone when it was
// touched: its owner truncated the file behind it.
type FaultError struct {
	Addr uintptr
}

func (e *FaultError) Error() string {
	return fmt.Sprintf("shared memory at %#x is gone (the file behind it was truncated)", e.Addr)
}

// CatchFault runs f and turns a memory fault in it (SIGBUS, SIGSEGV at a
// mapped address) into a *FaultError. Any other panic goes on. It costs
// nothing while f runs; a door puts it around its whole work loop.
func CatchFault(f func()) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		switch p := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			err = &FaultError{Addr: p.Addr()}
		default:
			panic(p)
		}
	}()
	f()
	return nil
}
