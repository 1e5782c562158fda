package metrics

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Listen listens at an address of this host that no other host reaches: localhost:PORT,
// 127.0.0.1:PORT and others of 127.0.0.0/8, [::1]:PORT, or :PORT and PORT alone, which
// are 127.0.0.1:PORT. localhost is 127.0.0.1, or ::1 where that has no address. Port 0
// is any that is free.
func Listen(addr string) (net.Listener, error) {
	addrs, err := parse(addr)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		var l *net.TCPListener
		if l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a)); err == nil {
			return l, nil
		}
	}
	if op, ok := err.(*net.OpError); ok {
		err = op.Err
	}
	return nil, fmt.Errorf("listen on %s: %w", addr, err)
}

var ipv4, ipv6 = netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()

// parse returns what addr may stand for, the first choice first.
func parse(addr string) ([]netip.AddrPort, error) {
	host, port := "", addr
	if strings.Contains(addr, ":") {
		var err error
		if host, port, err = net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("%q is no address: want one such as localhost:9100, [::1]:9100 or 9100", addr)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q has no port from 0 to 65535: want an address such as localhost:9100, [::1]:9100 or 9100", addr)
	}
	var ips []netip.Addr
	switch host {
	case "":
		ips = []netip.Addr{ipv4}
	case "localhost":
		ips = []netip.Addr{ipv4, ipv6}
	default:
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.IsLoopback() || ip.Zone() != "" {
			return nil, fmt.Errorf("%q is not an address of this host alone, and metrics have no password and no encryption: "+
				"want one such as localhost:%d, and for other hosts put a reverse proxy with TLS or a Prometheus agent in front of it", addr, n)
		}
		ips = []netip.Addr{ip.Unmap()}
	}
	var list []netip.AddrPort
	for _, ip := range ips {
		list = append(list, netip.AddrPortFrom(ip, uint16(n)))
	}
	return list, nil
}
