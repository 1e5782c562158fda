package runspec

import (
	"slices"

	"github.com/isthmus-fs/isthmus/vmm/hermit"
)

// Arguments are the arguments of the command line that are no flags.
type Arguments struct {
	Kernel string // "" if there is none
	// KernelArgs and AppArgs are what follows it.
	KernelArgs, AppArgs []string
	// Given says that something followed the kernel.
	Given bool
}

// separator stands between arguments of the kernel and those of the application.
const separator = "--"

// SplitUhyve divides arguments as uhyve does. args are those that are no flags, without
// the first --, which ended the flags. The kernel is the first of them; up to the next --
// the others are the kernel's, and behind it they are the application's:
//
//	uhyve app x y                      kernel [x y]
//	uhyve app -- -freq 3000 -- a b     kernel [-freq 3000], application [a b]
//	uhyve app -- -- a b                application [a b]
func SplitUhyve(args []string) Arguments {
	if len(args) == 0 {
		return Arguments{}
	}
	a := Arguments{Kernel: args[0], Given: len(args) > 1}
	a.KernelArgs, a.AppArgs = hermit.SplitArguments(args[1:])
	return a
}

// SplitRun divides arguments as `isthmus run IMAGE [KERNEL ARGS] [-- APP ARGS]` has them:
// what follows a single -- is the application's. With two or more it is as with uhyve, where
// the first ends the flags, so that a kernel can have arguments that begin with a dash:
//
//	isthmus run app x y -- a b             kernel [x y], application [a b]
//	isthmus run app -- -freq 3000 -- a b   kernel [-freq 3000], application [a b]
//
// args are as for [SplitUhyve], and dash is how many of them came before the first --, or -1
// if there was none. With dash 0 and no other -- there is no kernel among them.
func SplitRun(args []string, dash int) Arguments {
	if dash < 0 || slices.Contains(args[dash:], separator) {
		return SplitUhyve(args)
	}
	a := SplitUhyve(args[:dash])
	a.AppArgs = args[dash:]
	a.Given = a.Given || len(a.AppArgs) > 0
	return a
}
