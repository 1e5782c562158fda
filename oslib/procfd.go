package oslib

// ProcFDName writes the name that a descriptor has in /proc/self/fd, with its
// NUL, into buf and returns it. A negative number makes a name that does not
// exist there.
func ProcFDName(buf *[12]byte, fd int) []byte {
	n := int64(int32(fd))
	neg := n < 0
	if neg {
		n = -n
	}
	i := len(buf) - 1
	buf[i] = 0
	for {
		i--
		buf[i] = byte('0' + n%10)
		n /= 10
		if n == 0 {
			break
		}
	}
	if neg {
		i--
		buf[i] = '-'
	}
	return buf[i:]
}
