//go:build !race

package hypercall

const raceEnabled = false
