package vmm

import "fmt"

// Reason says how a machine has ended.
type Reason uint8

const (
	Exited      Reason = iota // the guest has asked for it, with Outcome.Code
	TripleFault               // an exception that the guest could not take
	Shutdown                  // the guest has switched the machine off
	Reset                     // the guest wants to begin anew
	Stopped                   // by us: the context is done, or a debugger says so
	Failed                    // KVM cannot go on, see Outcome.Err
)

var reasonNames = [...]string{
	Exited:      "exited",
	TripleFault: "triple fault",
	Shutdown:    "shutdown",
	Reset:       "reset",
	Stopped:     "stopped",
	Failed:      "failed",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// Outcome is how a machine has ended.
type Outcome struct {
	Reason Reason
	Code   int32 // of Exited
	CPU    int   // the processor that ended it, or -1
	Err    error // of Failed, and why it was Stopped
}

// Error describes an Outcome that is not what a guest wants: nil for Exited and Shutdown.
func (o Outcome) Error() error {
	switch o.Reason {
	case Exited, Shutdown:
		return nil
	case TripleFault:
		return fmt.Errorf("the guest crashed: a triple fault on CPU %d, an exception that it has no handler for", o.CPU)
	case Reset:
		return fmt.Errorf("the guest asked for a reset on CPU %d", o.CPU)
	case Stopped:
		if o.Err != nil {
			return fmt.Errorf("the guest was stopped: %w", o.Err)
		}
		return fmt.Errorf("the guest was stopped")
	}
	if o.CPU >= 0 {
		return fmt.Errorf("CPU %d of the guest cannot go on: %w", o.CPU, o.Err)
	}
	return o.Err
}
