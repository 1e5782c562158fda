package kvm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// fact is a number that this package and the kernel's headers must agree on.
type fact struct {
	c         string // in C
	got, want uint64
}

// layout are sizes and offsets. What has to follow from the size of a structure,
// the numbers of the calls, is in requests.
var layout = []fact{
	{"sizeof(struct kvm_userspace_memory_region)", uint64(unsafe.Sizeof(UserspaceMemoryRegion{})), 32},
	{"offsetof(struct kvm_userspace_memory_region, guest_phys_addr)", uint64(unsafe.Offsetof(UserspaceMemoryRegion{}.GuestPhysAddr)), 8},
	{"offsetof(struct kvm_userspace_memory_region, memory_size)", uint64(unsafe.Offsetof(UserspaceMemoryRegion{}.MemorySize)), 16},
	{"offsetof(struct kvm_userspace_memory_region, userspace_addr)", uint64(unsafe.Offsetof(UserspaceMemoryRegion{}.UserspaceAddr)), 24},
	{"sizeof(struct kvm_irqchip)", uint64(unsafe.Sizeof(IRQChip{})), 520},
	{"offsetof(struct kvm_irqchip, chip)", uint64(unsafe.Offsetof(IRQChip{}.Chip)), 8},
	{"sizeof(struct kvm_pit_config)", uint64(unsafe.Sizeof(pitConfig{})), 64},
	{"sizeof(struct kvm_irq_level)", uint64(unsafe.Sizeof(irqLevel{})), 8},
	{"sizeof(struct kvm_irqfd)", uint64(unsafe.Sizeof(IRQFD{})), 32},
	{"offsetof(struct kvm_irqfd, resamplefd)", uint64(unsafe.Offsetof(IRQFD{}.ResampleFD)), 12},
	{"sizeof(struct kvm_ioeventfd)", uint64(unsafe.Sizeof(IOEventFD{})), 64},
	{"offsetof(struct kvm_ioeventfd, addr)", uint64(unsafe.Offsetof(IOEventFD{}.Addr)), 8},
	{"offsetof(struct kvm_ioeventfd, len)", uint64(unsafe.Offsetof(IOEventFD{}.Len)), 16},
	{"offsetof(struct kvm_ioeventfd, fd)", uint64(unsafe.Offsetof(IOEventFD{}.FD)), 20},
	{"offsetof(struct kvm_ioeventfd, flags)", uint64(unsafe.Offsetof(IOEventFD{}.Flags)), 24},
	{"sizeof(struct kvm_irq_routing_entry)", uint64(unsafe.Sizeof(IRQRoutingEntry{})), 48},
	{"offsetof(struct kvm_irq_routing_entry, u)", uint64(unsafe.Offsetof(IRQRoutingEntry{}.U)), 16},
	{"offsetof(struct kvm_irq_routing_entry, u.msi.data)", uint64(unsafe.Offsetof(IRQRoutingEntry{}.U)) + 8, 24},
	{"offsetof(struct kvm_irq_routing, entries)", irqRoutingHeader, 8},
	{"sizeof(struct kvm_msi)", uint64(unsafe.Sizeof(MSI{})), 32},
	{"offsetof(struct kvm_msi, devid)", uint64(unsafe.Offsetof(MSI{}.DevID)), 16},
	{"sizeof(struct kvm_enable_cap)", uint64(unsafe.Sizeof(enableCap{})), 104},
	{"offsetof(struct kvm_enable_cap, args)", uint64(unsafe.Offsetof(enableCap{}.Args)), 8},
	{"sizeof(struct kvm_clock_data)", uint64(unsafe.Sizeof(ClockData{})), 48},
	{"offsetof(struct kvm_clock_data, realtime)", uint64(unsafe.Offsetof(ClockData{}.Realtime)), 16},
	{"offsetof(struct kvm_clock_data, host_tsc)", uint64(unsafe.Offsetof(ClockData{}.HostTSC)), 24},
	{"sizeof(struct kvm_cpuid_entry2)", uint64(unsafe.Sizeof(CPUIDEntry2{})), 40},
	{"sizeof(struct kvm_cpuid_entry2) ", 4 * cpuidWords, 40},
	{"offsetof(struct kvm_cpuid_entry2, eax)", uint64(unsafe.Offsetof(CPUIDEntry2{}.EAX)), 12},
	{"offsetof(struct kvm_cpuid2, entries)", cpuid2Header, 8},
	{"sizeof(struct kvm_msr_entry)", uint64(unsafe.Sizeof(MSREntry{})), 16},
	{"offsetof(struct kvm_msr_entry, data)", uint64(unsafe.Offsetof(MSREntry{}.Data)), 8},
	{"offsetof(struct kvm_msrs, entries)", msrsHeader, 8},
	{"offsetof(struct kvm_msr_list, indices)", msrListHeader, 4},

	{"sizeof(struct kvm_regs)", uint64(unsafe.Sizeof(Regs{})), 144},
	{"offsetof(struct kvm_regs, rsp)", uint64(unsafe.Offsetof(Regs{}.RSP)), 48},
	{"offsetof(struct kvm_regs, r8)", uint64(unsafe.Offsetof(Regs{}.R8)), 64},
	{"offsetof(struct kvm_regs, rip)", uint64(unsafe.Offsetof(Regs{}.RIP)), 128},
	{"sizeof(struct kvm_segment)", uint64(unsafe.Sizeof(Segment{})), 24},
	{"offsetof(struct kvm_segment, selector)", uint64(unsafe.Offsetof(Segment{}.Selector)), 12},
	{"offsetof(struct kvm_segment, type)", uint64(unsafe.Offsetof(Segment{}.Type)), 14},
	{"offsetof(struct kvm_segment, l)", uint64(unsafe.Offsetof(Segment{}.L)), 19},
	{"offsetof(struct kvm_segment, unusable)", uint64(unsafe.Offsetof(Segment{}.Unusable)), 22},
	{"sizeof(struct kvm_dtable)", uint64(unsafe.Sizeof(DTable{})), 16},
	{"sizeof(struct kvm_sregs)", uint64(unsafe.Sizeof(Sregs{})), 312},
	{"offsetof(struct kvm_sregs, ss)", uint64(unsafe.Offsetof(Sregs{}.SS)), 120},
	{"offsetof(struct kvm_sregs, tr)", uint64(unsafe.Offsetof(Sregs{}.TR)), 144},
	{"offsetof(struct kvm_sregs, gdt)", uint64(unsafe.Offsetof(Sregs{}.GDT)), 192},
	{"offsetof(struct kvm_sregs, idt)", uint64(unsafe.Offsetof(Sregs{}.IDT)), 208},
	{"offsetof(struct kvm_sregs, cr3)", uint64(unsafe.Offsetof(Sregs{}.CR3)), 240},
	{"offsetof(struct kvm_sregs, efer)", uint64(unsafe.Offsetof(Sregs{}.EFER)), 264},
	{"offsetof(struct kvm_sregs, interrupt_bitmap)", uint64(unsafe.Offsetof(Sregs{}.InterruptBitmap)), 280},
	{"sizeof(struct kvm_fpu)", uint64(unsafe.Sizeof(FPU{})), 416},
	{"offsetof(struct kvm_fpu, last_ip)", uint64(unsafe.Offsetof(FPU{}.LastIP)), 136},
	{"offsetof(struct kvm_fpu, xmm)", uint64(unsafe.Offsetof(FPU{}.XMM)), 152},
	{"offsetof(struct kvm_fpu, mxcsr)", uint64(unsafe.Offsetof(FPU{}.MXCSR)), 408},
	{"sizeof(struct kvm_xsave)", uint64(unsafe.Sizeof(XSave{})), 4096},
	{"sizeof(struct kvm_xcr)", uint64(unsafe.Sizeof(XCR{})), 16},
	{"sizeof(struct kvm_xcrs)", uint64(unsafe.Sizeof(XCRs{})), 392},
	{"sizeof(struct kvm_lapic_state)", uint64(unsafe.Sizeof(LAPICState{})), 1024},
	{"sizeof(struct kvm_mp_state)", uint64(unsafe.Sizeof(MPState(0))), 4},
	{"sizeof(struct kvm_vcpu_events)", uint64(unsafe.Sizeof(VCPUEvents{})), 64},
	{"offsetof(struct kvm_vcpu_events, interrupt)", uint64(unsafe.Offsetof(VCPUEvents{}.Interrupt)), 8},
	{"offsetof(struct kvm_vcpu_events, nmi)", uint64(unsafe.Offsetof(VCPUEvents{}.NMI)), 12},
	{"offsetof(struct kvm_vcpu_events, sipi_vector)", uint64(unsafe.Offsetof(VCPUEvents{}.SIPIVector)), 16},
	{"offsetof(struct kvm_vcpu_events, smi)", uint64(unsafe.Offsetof(VCPUEvents{}.SMI)), 24},
	{"offsetof(struct kvm_vcpu_events, triple_fault)", uint64(unsafe.Offsetof(VCPUEvents{}.TripleFault)), 28},
	{"offsetof(struct kvm_vcpu_events, exception_has_payload)", uint64(unsafe.Offsetof(VCPUEvents{}.ExceptionHasPayload)), 55},
	{"offsetof(struct kvm_vcpu_events, exception_payload)", uint64(unsafe.Offsetof(VCPUEvents{}.ExceptionPayload)), 56},
	{"sizeof(struct kvm_guest_debug)", uint64(unsafe.Sizeof(GuestDebug{})), 72},
	{"offsetof(struct kvm_guest_debug, arch)", uint64(unsafe.Offsetof(GuestDebug{}.DebugReg)), 8},
	{"sizeof(struct kvm_translation)", uint64(unsafe.Sizeof(Translation{})), 24},
	{"offsetof(struct kvm_translation, valid)", uint64(unsafe.Offsetof(Translation{}.Valid)), 16},
	{"sizeof(struct kvm_sync_regs)", uint64(unsafe.Sizeof(SyncRegs{})), 520},
	{"offsetof(struct kvm_sync_regs, events)", uint64(unsafe.Offsetof(SyncRegs{}.Events)), 456},

	{"sizeof(struct kvm_run)", uint64(runSize), 2352},
	{"offsetof(struct kvm_run, request_interrupt_window)", uint64(unsafe.Offsetof(run{}.control)), 0},
	{"offsetof(struct kvm_run, immediate_exit)", uint64(unsafe.Offsetof(run{}.control)) + 1, 1},
	{"offsetof(struct kvm_run, exit_reason)", uint64(unsafe.Offsetof(run{}.exitReason)), 8},
	{"offsetof(struct kvm_run, ready_for_interrupt_injection)", uint64(unsafe.Offsetof(run{}.readyForInterruptInjection)), 12},
	{"offsetof(struct kvm_run, flags)", uint64(unsafe.Offsetof(run{}.flags)), 14},
	{"offsetof(struct kvm_run, apic_base)", uint64(unsafe.Offsetof(run{}.apicBase)), 24},
	{"offsetof(struct kvm_run, hw)", uint64(unsafe.Offsetof(run{}.exit)), 32},
	{"offsetof(struct kvm_run, kvm_valid_regs)", uint64(unsafe.Offsetof(run{}.validRegs)), 288},
	{"offsetof(struct kvm_run, kvm_dirty_regs)", uint64(unsafe.Offsetof(run{}.dirtyRegs)), 296},
	{"offsetof(struct kvm_run, s)", uint64(unsafe.Offsetof(run{}.sync)), 304},
	{"offsetof(struct kvm_run, io.size)", 32 + uint64(unsafe.Offsetof(IOExit{}.Size)), 33},
	{"offsetof(struct kvm_run, io.port)", 32 + uint64(unsafe.Offsetof(IOExit{}.Port)), 34},
	{"offsetof(struct kvm_run, io.count)", 32 + uint64(unsafe.Offsetof(IOExit{}.Count)), 36},
	{"offsetof(struct kvm_run, io.data_offset)", 32 + uint64(unsafe.Offsetof(IOExit{}.dataOffset)), 40},
	{"sizeof(struct kvm_debug_exit_arch)", uint64(unsafe.Sizeof(DebugExit{})), 32},
	{"offsetof(struct kvm_run, debug.arch.pc)", 32 + uint64(unsafe.Offsetof(DebugExit{}.PC)), 40},
	{"offsetof(struct kvm_run, mmio.data)", 32 + uint64(unsafe.Offsetof(MMIOExit{}.data)), 40},
	{"offsetof(struct kvm_run, mmio.len)", 32 + uint64(unsafe.Offsetof(MMIOExit{}.length)), 48},
	{"offsetof(struct kvm_run, mmio.is_write)", 32 + uint64(unsafe.Offsetof(MMIOExit{}.isWrite)), 52},
	{"offsetof(struct kvm_run, fail_entry.cpu)", 32 + uint64(unsafe.Offsetof(FailEntryExit{}.CPU)), 40},
	{"offsetof(struct kvm_run, internal.ndata)", 32 + uint64(unsafe.Offsetof(InternalErrorExit{}.ndata)), 36},
	{"offsetof(struct kvm_run, internal.data)", 32 + uint64(unsafe.Offsetof(InternalErrorExit{}.data)), 40},
	{"offsetof(struct kvm_run, emulation_failure.insn_size)", 32 + uint64(unsafe.Offsetof(InternalErrorExit{}.data)) + 8, 48},
	{"offsetof(struct kvm_run, system_event.data)", 32 + uint64(unsafe.Offsetof(SystemEventExit{}.data)), 40},
	{"offsetof(struct kvm_run, msr.reason)", 32 + uint64(unsafe.Offsetof(MSRExit{}.Reason)), 40},
	{"offsetof(struct kvm_run, msr.index)", 32 + uint64(unsafe.Offsetof(MSRExit{}.Index)), 44},
	{"offsetof(struct kvm_run, msr.data)", 32 + uint64(unsafe.Offsetof(MSRExit{}.Data)), 48},
	{"offsetof(struct kvm_run, eoi.vector)", 32, 32},
}

// requests are all calls with their numbers.
var requests = []struct {
	request
	want uintptr
}{
	{getAPIVersion, 0xae00},
	{createVM, 0xae01},
	{getMSRIndexList, 0xc004ae02},
	{checkExtension, 0xae03},
	{getVCPUMmapSize, 0xae04},
	{getSupportedCPUID, 0xc008ae05},
	{createVCPU, 0xae41},
	{setUserMemoryRegion, 0x4020ae46},
	{setTSSAddr, 0xae47},
	{setIdentityMapAddr, 0x4008ae48},
	{createIRQChip, 0xae60},
	{irqLine, 0x4008ae61},
	{getIRQChip, 0xc208ae62},
	{setIRQChip, 0x8208ae63},
	{setGSIRouting, 0x4008ae6a},
	{irqfd, 0x4020ae76},
	{createPIT2, 0x4040ae77},
	{ioeventfd, 0x4040ae79},
	{setClock, 0x4030ae7b},
	{getClock, 0x8030ae7c},
	{signalMSI, 0x4020aea5},
	{enable, 0x4068aea3},
	{runVCPU, 0xae80},
	{getRegs, 0x8090ae81},
	{setRegs, 0x4090ae82},
	{getSregs, 0x8138ae83},
	{setSregs, 0x4138ae84},
	{translate, 0xc018ae85},
	{interrupt, 0x4004ae86},
	{getMSRs, 0xc008ae88},
	{setMSRs, 0x4008ae89},
	{getFPU, 0x81a0ae8c},
	{setFPU, 0x41a0ae8d},
	{getLAPIC, 0x8400ae8e},
	{setLAPIC, 0x4400ae8f},
	{setCPUID2, 0x4008ae90},
	{getMPState, 0x8004ae98},
	{setMPState, 0x4004ae99},
	{nmi, 0xae9a},
	{setGuestDebug, 0x4048ae9b},
	{getVCPUEvents, 0x8040ae9f},
	{setVCPUEvents, 0x4040aea0},
	{setTSCKHz, 0xaea2},
	{getTSCKHz, 0xaea3},
	{getXSave, 0x9000aea4},
	{setXSave, 0x5000aea5},
	{getXCRs, 0x8188aea6},
	{setXCRs, 0x4188aea7},
	{kvmclockCtrl, 0xaead},
}

func TestLayout(t *testing.T) {
	for _, f := range layout {
		if f.got != f.want {
			t.Errorf("%s is %d here, %d in the kernel", f.c, f.got, f.want)
		}
	}
	for _, r := range requests {
		if r.number != r.want {
			t.Errorf("%s is %#x here, %#x in the kernel", r.name, r.number, r.want)
		}
	}
	if size := unsafe.Sizeof(run{}.exit); size != 256 {
		t.Errorf("the union of struct kvm_run has %d bytes", size)
	}
}

// constants are the named numbers that a C compiler is asked for.
func constants() []fact {
	facts := []fact{
		{c: "KVM_API_VERSION", want: API_VERSION},
		{c: "KVM_MEM_LOG_DIRTY_PAGES", want: MEM_LOG_DIRTY_PAGES},
		{c: "KVM_MEM_READONLY", want: MEM_READONLY},
		{c: "KVM_IRQCHIP_PIC_MASTER", want: IRQCHIP_PIC_MASTER},
		{c: "KVM_IRQCHIP_PIC_SLAVE", want: IRQCHIP_PIC_SLAVE},
		{c: "KVM_IRQCHIP_IOAPIC", want: IRQCHIP_IOAPIC},
		{c: "KVM_IOAPIC_NUM_PINS", want: IOAPIC_NUM_PINS},
		{c: "KVM_PIT_SPEAKER_DUMMY", want: PIT_SPEAKER_DUMMY},
		{c: "KVM_IRQFD_FLAG_DEASSIGN", want: IRQFD_FLAG_DEASSIGN},
		{c: "KVM_IRQFD_FLAG_RESAMPLE", want: IRQFD_FLAG_RESAMPLE},
		{c: "KVM_IOEVENTFD_FLAG_DATAMATCH", want: IOEVENTFD_FLAG_DATAMATCH},
		{c: "KVM_IOEVENTFD_FLAG_PIO", want: IOEVENTFD_FLAG_PIO},
		{c: "KVM_IOEVENTFD_FLAG_DEASSIGN", want: IOEVENTFD_FLAG_DEASSIGN},
		{c: "KVM_IRQ_ROUTING_IRQCHIP", want: IRQ_ROUTING_IRQCHIP},
		{c: "KVM_IRQ_ROUTING_MSI", want: IRQ_ROUTING_MSI},
		{c: "KVM_CLOCK_TSC_STABLE", want: CLOCK_TSC_STABLE},
		{c: "KVM_CLOCK_REALTIME", want: CLOCK_REALTIME},
		{c: "KVM_CLOCK_HOST_TSC", want: CLOCK_HOST_TSC},
		{c: "KVM_CPUID_FLAG_SIGNIFCANT_INDEX", want: CPUID_FLAG_SIGNIFCANT_INDEX},
		{c: "KVM_X86_DISABLE_EXITS_MWAIT", want: X86_DISABLE_EXITS_MWAIT},
		{c: "KVM_X86_DISABLE_EXITS_HLT", want: X86_DISABLE_EXITS_HLT},
		{c: "KVM_X86_DISABLE_EXITS_PAUSE", want: X86_DISABLE_EXITS_PAUSE},
		{c: "KVM_X86_DISABLE_EXITS_CSTATE", want: X86_DISABLE_EXITS_CSTATE},
		{c: "KVM_X2APIC_API_USE_32BIT_IDS", want: X2APIC_API_USE_32BIT_IDS},
		{c: "KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK", want: X2APIC_API_DISABLE_BROADCAST_QUIRK},
		{c: "KVM_MSR_EXIT_REASON_INVAL", want: MSR_EXIT_REASON_INVAL},
		{c: "KVM_MSR_EXIT_REASON_UNKNOWN", want: MSR_EXIT_REASON_UNKNOWN},
		{c: "KVM_MSR_EXIT_REASON_FILTER", want: MSR_EXIT_REASON_FILTER},
		{c: "KVM_MP_STATE_RUNNABLE", want: uint64(MP_STATE_RUNNABLE)},
		{c: "KVM_MP_STATE_UNINITIALIZED", want: uint64(MP_STATE_UNINITIALIZED)},
		{c: "KVM_MP_STATE_INIT_RECEIVED", want: uint64(MP_STATE_INIT_RECEIVED)},
		{c: "KVM_MP_STATE_HALTED", want: uint64(MP_STATE_HALTED)},
		{c: "KVM_MP_STATE_SIPI_RECEIVED", want: uint64(MP_STATE_SIPI_RECEIVED)},
		{c: "KVM_VCPUEVENT_VALID_NMI_PENDING", want: VCPUEVENT_VALID_NMI_PENDING},
		{c: "KVM_VCPUEVENT_VALID_SIPI_VECTOR", want: VCPUEVENT_VALID_SIPI_VECTOR},
		{c: "KVM_VCPUEVENT_VALID_SHADOW", want: VCPUEVENT_VALID_SHADOW},
		{c: "KVM_VCPUEVENT_VALID_SMM", want: VCPUEVENT_VALID_SMM},
		{c: "KVM_VCPUEVENT_VALID_PAYLOAD", want: VCPUEVENT_VALID_PAYLOAD},
		{c: "KVM_GUESTDBG_ENABLE", want: GUESTDBG_ENABLE},
		{c: "KVM_GUESTDBG_SINGLESTEP", want: GUESTDBG_SINGLESTEP},
		{c: "KVM_GUESTDBG_USE_SW_BP", want: GUESTDBG_USE_SW_BP},
		{c: "KVM_GUESTDBG_USE_HW_BP", want: GUESTDBG_USE_HW_BP},
		{c: "KVM_GUESTDBG_INJECT_DB", want: GUESTDBG_INJECT_DB},
		{c: "KVM_GUESTDBG_INJECT_BP", want: GUESTDBG_INJECT_BP},
		{c: "KVM_GUESTDBG_BLOCKIRQ", want: GUESTDBG_BLOCKIRQ},
		{c: "KVM_SYNC_X86_REGS", want: SYNC_X86_REGS},
		{c: "KVM_SYNC_X86_SREGS", want: SYNC_X86_SREGS},
		{c: "KVM_SYNC_X86_EVENTS", want: SYNC_X86_EVENTS},
		{c: "KVM_EXIT_IO_IN", want: EXIT_IO_IN},
		{c: "KVM_EXIT_IO_OUT", want: EXIT_IO_OUT},
		{c: "KVM_INTERNAL_ERROR_EMULATION", want: INTERNAL_ERROR_EMULATION},
		{c: "KVM_INTERNAL_ERROR_SIMUL_EX", want: INTERNAL_ERROR_SIMUL_EX},
		{c: "KVM_INTERNAL_ERROR_DELIVERY_EV", want: INTERNAL_ERROR_DELIVERY_EV},
		{c: "KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON", want: INTERNAL_ERROR_UNEXPECTED_EXIT_REASON},
		{c: "KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES", want: internalErrorFlagInstruction},
		{c: "KVM_SYSTEM_EVENT_SHUTDOWN", want: SYSTEM_EVENT_SHUTDOWN},
		{c: "KVM_SYSTEM_EVENT_RESET", want: SYSTEM_EVENT_RESET},
		{c: "KVM_SYSTEM_EVENT_CRASH", want: SYSTEM_EVENT_CRASH},
		{c: "KVM_MEMORY_EXIT_FLAG_PRIVATE", want: MEMORY_EXIT_FLAG_PRIVATE},
	}
	for c := range capNames {
		facts = append(facts, fact{c: c.String(), want: uint64(c)})
	}
	for r, name := range exitNames {
		if name != "" {
			facts = append(facts, fact{c: ExitReason(r).String(), want: uint64(r)})
		}
	}
	return facts
}

// newer is what the headers of Linux 6.1 do not have.
var newer = map[string]bool{"KVM_CAP_MEMORY_FAULT_INFO": true, "KVM_EXIT_MEMORY_FAULT": true, "KVM_MEMORY_EXIT_FLAG_PRIVATE": true}

// TestHeaders asks a C compiler for everything that is assumed of the kernel's
// headers.
func TestHeaders(t *testing.T) {
	facts := append(constants(), layout...)
	for _, r := range requests {
		facts = append(facts, fact{c: "(unsigned)" + r.name, want: uint64(r.number)})
	}
	var c strings.Builder
	c.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvm.h>\nint main(void) {\n")
	for _, f := range facts {
		print := fmt.Sprintf("printf(\"%%llu\\n\", (unsigned long long)%s);\n", f.c)
		if newer[f.c] {
			print = fmt.Sprintf("#ifdef %s\n%s#else\nprintf(\"%d\\n\");\n#endif\n", f.c, print, f.want)
		}
		c.WriteString(print)
	}
	c.WriteString("}\n")

	dir := t.TempDir()
	source, program := filepath.Join(dir, "facts.c"), filepath.Join(dir, "facts")
	if err := os.WriteFile(source, []byte(c.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	out, err := exec.Command(program).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != len(facts) {
		t.Fatalf("%d answers to %d questions", len(lines), len(facts))
	}
	for i, f := range facts {
		if got, err := strconv.ParseUint(lines[i], 10, 64); err != nil || got != f.want {
			t.Errorf("%s is %s in the headers, want %d", f.c, lines[i], f.want)
		}
	}
}
