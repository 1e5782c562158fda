package gdb

import (
	"fmt"
	"strings"
	"testing"
)

// program is code that does something everywhere.
const program = "\x90\x90\x48\xff\xc0\x88\x03\x8a\x03\xeb\xf6" // from 9 back to 1

const (
	pc0 = codeAt
	pc1 = codeAt + 1
	pc2 = codeAt + 2
	pc5 = codeAt + 5
	pc7 = codeAt + 7
	pc9 = codeAt + 9
)

// TestReplies asks a new session of each case one thing after the other.
func TestReplies(t *testing.T) {
	for name, asks := range map[string][][2]string{
		"unknown":   {{"", ""}, {"!", ""}, {"vMustReplyEmpty", ""}, {"qXfer:exec-file:read::0,100", ""}, {"\xff", ""}, {"vRun;", ""}, {"QNonStop:1", ""}},
		"supported": {{"qSupported:swbreak+;multiprocess+", supportedReply}, {"qAttached", "1"}, {"qAttached:1", "1"}, {"vCont?", "vCont;c;C;s;S;r"}},
		"offsets":   {{"qOffsets", "Text=200000;Data=200000;Bss=200000"}},
		"threads": {
			{"qfThreadInfo", "m1,2"}, {"qsThreadInfo", "l"}, {"qC", "QC1"}, {"T1", "OK"}, {"T2", "OK"},
			{"T3", "E03"}, {"T0", "E03"}, {"T-1", "E03"}, {"T", "E03"}, {"Tp1.1", "E03"}, {"Tffffffffffffffff", "E03"},
			{"qThreadExtraInfo,2", formatBytes([]byte("CPU 1"))}, {"qThreadExtraInfo,3", "E03"}, {"qThreadExtraInfo,-1", "E16"},
			{"Hg2", "OK"}, {"Hc-1", "OK"}, {"Hg0", "OK"}, {"Hg3", "E03"}, {"H", "E16"}, {"Hx1", "E16"}, {"Hg", "E16"},
		},
		"memory": {
			{"m400000,4", "909048ff"}, {"x400000,4", "b\x90\x90\x48\xff"}, {"m400000,0", ""}, {"x400000,0", "b"},
			{"m402000,1", "E0e"}, {"x402000,1", "E0e"}, {"m403000,1", "E0e"}, {"m400000", "E16"}, {"m,4", "E16"},
			{"m400000,-1", "E16"}, {"m11112222333344445,1", "E16"},
			{"M400ffe,4:01020304", "OK"}, {"m400ffc,6", "000001020304"}, {"m500ffe,2", "0102"},
			{"X400ffe,3:a}\x03", "OK"}, {"x400ffe,3", "ba}\x03"}, {"X400000,0:", "OK"},
			{"M400ffe,4:010203", "E16"}, {"M400ffe,4:0102030g", "E16"}, {"M400ffe,4", "E16"}, {"X1,2", "E16"},
			{"mffffffffffffffff,2", "00"}, {"Mffffffffffffffff,2:0102", "E0e"}, {"mffffffffffffffff,1", "00"},
		},
		"no part of a write": {{"M401ffe,4:01020304", "E0e"}, {"m401ffe,4", "0000"}, {"M400fff,3002:" + strings.Repeat("00", 0x1ff8), "E16"}},
		"breakpoints": {
			{"Z0,400000,1", "OK"}, {"Z0,400000,1", "OK"}, {"z0,400000,1", "OK"}, {"z0,400000,1", "OK"},
			{"Z0,402000,1", "E0e"}, {"Z0,403000,1", "E0e"}, {"Z0,400000,2", "E16"}, {"Z0,400000", "E16"},
			{"Z3,400000,1", ""}, {"z3,400000,1", ""}, {"Z5,1,1", ""}, {"Z", ""}, {"Z0", ""}, {"Z0,400000,1;X1,0", "E16"},
			{"Z1,400000,2", "E16"}, {"Z2,400000,0", "E16"}, {"Z2,ffffffffffffffff,2", "E16"},
		},
		"four hardware breakpoints": {
			{"Z1,1,1", "OK"}, {"Z1,1,1", "OK"}, {"Z2,2,1", "OK"}, {"Z4,10,8", "OK"}, {"Z2,20,c", "E1c"}, {"Z2,20,8", "OK"},
			{"Z1,2,1", "E1c"}, {"z2,2,1", "OK"}, {"z2,2,1", "OK"}, {"Z1,2,1", "OK"},
		},
		"going": {
			{"vCont;", "E16"}, {"vCont;t", "E16"}, {"vCont;q:1", "E16"}, {"vCont;s:9", "E03"}, {"vCont;r1:1", "E16"},
			{"vCont;s1:1", "E16"}, {"vCont;Cxx", "E16"}, {"czz", "E16"}, {"vCont;c;;", "E16"},
		},
		"description": {
			{"qXfer:features:read:target.xml:0,5", "m<?xml"}, {fmt.Sprintf("qXfer:features:read:target.xml:%x,100", len(description)), "l"},
			{fmt.Sprintf("qXfer:features:read:target.xml:%x,100", len(description)+1), "E16"},
			{"qXfer:features:read:other.xml:0,5", ""}, {"qXfer:features:read:target.xml:0", "E16"},
		},
		"registers": {
			{"p0", hex64(0)}, {"P0=0102030405060708", "OK"}, {"p0", "0102030405060708"}, {"p10", hex64(codeAt)},
			{"p11", "02000000"}, {"P11=02010000", "OK"}, {"p11", "02010000"}, {"p12", "08000000"}, {"P12=10000000", "E16"}, {"P12=08000000", "OK"},
			{"pffff", "E16"}, {"p", "E16"}, {"P0=01", "E16"}, {"P0", "E16"}, {"P0=010203040506070g", "E16"}, {"Pffff=00", "E16"},
			{"p39", hex64(0x1234)}, {"P39=0000000000000100", "OK"}, {"p39", "0000000000000100"},
			{"p3b", hex64(0x80000031)}, {"P3b=0000000000000000", "E16"}, {"p3b", hex64(0x80000031)},
			{"G0102", "E16"}, {"G", "OK"}, {"Gxxxxxxxxxxxxxxxx0900000000000000", "OK"}, {"p0", "0102030405060708"}, {"p1", "0900000000000000"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, newFake(2, program))
			for _, a := range asks {
				c.want(a[0], a[1])
			}
			c.want("D", "OK")
			c.wantEnd(nil)
		})
	}
}

func TestStopReplyAtFirst(t *testing.T) {
	c := connect(t, newFake(2, program))
	want := "T05thread:1;06:" + hex64(0x6000) + ";07:" + hex64(0x5000) + ";10:" + hex64(codeAt) + ";"
	c.want("?", want)
	c.raw("\x03") // it is stopped already
	c.want("?", want)
	c.want("Hg2", "OK")
	c.want("p7", hex64(0x5001))
	c.want("?", want)
}

func TestAcknowledgements(t *testing.T) {
	c := connect(t, newFake(1, program))
	c.raw("$qC#00")
	c.wantByte('-')
	c.raw("$qC#zz")
	c.wantByte('-')
	c.raw("$}#7d")
	c.wantByte('-')
	c.raw("++$qC#b4")
	c.wantByte('+')
	if got := c.receive(); got != "QC1" {
		t.Error(got)
	}
	c.raw("-") // again
	if got := c.receive(); got != "QC1" {
		t.Error(got)
	}
	c.want("QStartNoAckMode", "OK")
	c.noAck = true
	c.want("qC", "QC1")
	c.raw("$qC#00")
	c.wantEnd(errSum)
}

func TestNackBeforeAnything(t *testing.T) {
	c := connect(t, newFake(1, program))
	c.raw("-")
	c.want("qC", "QC1")
}

func TestBrokenProtocol(t *testing.T) {
	for name, tt := range map[string]struct {
		send string
		want error
	}{
		"HTTP":      {"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n$k#6b", errStray},
		"TLS":       {"\x16\x03\x01\x00\x05", errStray},
		"too long":  {"$" + strings.Repeat("0", maxPacket+1), errLong},
		"end of it": {"$qC#", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := newFake(1, program)
			c := connect(t, m)
			c.raw(tt.send)
			if tt.want == nil {
				c.conn.Close()
				if err := <-c.served; err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
					t.Error(err)
				}
			} else if err := <-c.served; err == nil || !strings.Contains(err.Error(), tt.want.Error()) {
				t.Error(err)
			}
			if !m.Pause() {
				t.Error("the machine has ended")
			}
			if m.resumed != 1 {
				t.Error("the machine does not go on")
			}
		})
	}
}

func TestLongestPackets(t *testing.T) {
	c := connect(t, newFake(1, program))
	m := strings.Repeat("$", 0x2000)
	c.raw("$" + strings.Repeat("0", maxPacket) + "#00") // allowed; its sum is 48·16384 mod 256
	c.wantByte('+')
	if got := c.receive(); got != "" {
		t.Errorf("%q", got)
	}
	// All of what is read has to be escaped.
	if got := c.ask("X400000,1800:" + m[:0x1800]); got != "OK" {
		t.Fatal(got)
	}
	if got := c.ask("x400000,ffffffff"); got != "b"+m[:0x1800]+strings.Repeat("\x00", maxData-0x1800) && len(got) != 1+0x2000 {
		t.Errorf("%d bytes", len(got))
	}
	if got := c.ask("m400000,2000"); len(got) != 2*maxData || !strings.HasPrefix(got, "2424") {
		t.Errorf("%d bytes", len(got))
	}
}

func TestAppendPacket(t *testing.T) {
	for data, want := range map[string]string{
		"":       "$#00",
		"OK":     "$OK#9a",
		"a#$}*b": "$a}\x03}\x04}]}\nb#" + fmt.Sprintf("%02x", ('a'+4*'}'+3+4+0x5d+10+'b')&0xff),
	} {
		if got := string(appendPacket(nil, data)); got != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
		e := newDecoder(strings.NewReader(want)).next()
		if e.kind != eventPacket || e.data != data {
			t.Errorf("%q: %+v", want, e)
		}
	}
}
