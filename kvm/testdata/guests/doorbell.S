# Long mode: rings at a port and at an address, then says that it has.
	.code64
	mov	$1, %al
	out	%al, $0x20
	out	%al, $0x20
	mov	$2, %al
	out	%al, $0x20
	mov	$0x10000000, %ebx
	mov	%eax, (%rbx)
	out	%al, $0x10
	hlt
