# Real mode: each size of port access, both ways.
	.code16
	mov	$0x55, %al
	out	%al, $0x10
	mov	$0x3f8, %dx
	mov	$0x1234, %ax
	out	%ax, %dx
	mov	$0xdeadbeef, %eax
	out	%eax, %dx
	in	%dx, %al
	out	%al, $0x10
	in	%dx, %ax
	out	%ax, %dx
	in	%dx, %eax
	out	%eax, %dx
	hlt
