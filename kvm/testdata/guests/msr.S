# Long mode: an MSR that does not exist is read and written, then IA32_PAT read.
	.code64
	mov	$0x12345678, %ecx
	rdmsr
	mov	%eax, %esi
	mov	%edx, %edi
	mov	$0x11111111, %eax
	mov	$0x22222222, %edx
	wrmsr
	mov	$0x277, %ecx
	rdmsr
	hlt
