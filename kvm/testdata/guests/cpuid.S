# Long mode: one leaf of CPUID.
	.code64
	mov	$0x40000100, %eax
	xor	%ecx, %ecx
	cpuid
	hlt
