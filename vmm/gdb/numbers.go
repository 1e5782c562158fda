package gdb

import (
	"encoding/hex"
	"strconv"
	"strings"
	"syscall"
)

const digits = "0123456789abcdef"

func nibble(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// parse reads a number, which is hexadecimal and without a sign.
func parse(s string) (uint64, error) {
	if s == "" || len(s) > 16 {
		return 0, syscall.EINVAL
	}
	var v uint64
	for i := range len(s) {
		d, ok := nibble(s[i])
		if !ok {
			return 0, syscall.EINVAL
		}
		v = v<<4 | uint64(d)
	}
	return v, nil
}

// parsePair reads two numbers with a comma between them.
func parsePair(s string) (a, b uint64, err error) {
	first, second, ok := strings.Cut(s, ",")
	if !ok {
		return 0, 0, syscall.EINVAL
	}
	if a, err = parse(first); err != nil {
		return 0, 0, err
	}
	b, err = parse(second)
	return a, b, err
}

func parseBytes(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, syscall.EINVAL
	}
	return b, nil
}

func formatBytes(b []byte) string { return hex.EncodeToString(b) }

func format(v uint64) string { return strconv.FormatUint(v, 16) }

// allThreads and anyThread stand for processors where the peer may say -1 and 0.
const (
	allThreads = -1
	anyThread  = -2
)

// formatThread is the thread that a processor is to the peer: 0 would mean any of them.
func formatThread(cpu int) string { return format(uint64(cpu) + 1) }

// parseThread returns the processor that is meant, or allThreads or anyThread.
func (s *session) parseThread(text string) (cpu int, err error) {
	if text == "-1" {
		return allThreads, nil
	}
	n, err := parse(text)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return anyThread, nil
	case n > uint64(s.t.CPUs()):
		return 0, syscall.ESRCH
	}
	return int(n - 1), nil
}
