# Long mode: OUTS and INS with REP, then what INS brought.
	.code64
	mov	$0x10, %edx
	mov	$message, %esi
	mov	$5, %ecx
	rep outsb
	mov	$0x2000, %edi
	mov	$3, %ecx
	rep insw
	mov	0x2000, %eax
	out	%eax, %dx
	mov	0x2004, %ax
	out	%ax, %dx
	hlt
message:
	.ascii	"hello"
