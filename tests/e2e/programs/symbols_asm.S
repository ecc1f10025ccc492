/* SPDX-License-Identifier: Apache-2.0 */
/* Functions no compiler makes, but people write. System V AMD64 ABI. */
	.text

/* One byte. The next function follows without a gap. */
	.globl	p_asm_one
	.type	p_asm_one, @function
p_asm_one:
	ret
	.size	p_asm_one, . - p_asm_one

/* Two instructions, directly after. */
	.globl	p_asm_short
	.type	p_asm_short, @function
p_asm_short:
	mov	%edi, %eax
	ret
	.size	p_asm_short, . - p_asm_short

/* Entered in its middle: p_asm_jumper jumps to the push, so the push is not equal to the entry. rax = rdi + 1 or + 10 */
	.globl	p_asm_entered
	.type	p_asm_entered, @function
p_asm_entered:
	lea	1(%rdi), %rax
.Lmiddle:
	push	%rbx
	mov	%rax, %rbx
	mov	%rbx, %rax
	pop	%rbx
	ret
	.size	p_asm_entered, . - p_asm_entered

	.globl	p_asm_jumper
	.type	p_asm_jumper, @function
p_asm_jumper:
	lea	10(%rdi), %rax
	jmp	.Lmiddle
	.size	p_asm_jumper, . - p_asm_jumper

/* A five-byte nop at the entry, whose last bytes are code to nobody. */
	.globl	p_asm_nop5
	.type	p_asm_nop5, @function
p_asm_nop5:
	.byte	0x0f, 0x1f, 0x44, 0x00, 0x00
	lea	2(%rdi), %rax
	ret
	.size	p_asm_nop5, . - p_asm_nop5

/* A leaf that keeps a value in the red zone across a five-byte nop: a CALL written there would destroy it. */
	.globl	p_asm_redzone
	.type	p_asm_redzone, @function
p_asm_redzone:
	mov	%rdi, -8(%rsp)
	.byte	0x0f, 0x1f, 0x44, 0x00, 0x00
	mov	-8(%rsp), %rax
	add	$3, %rax
	ret
	.size	p_asm_redzone, . - p_asm_redzone

/* A loop back to the second instruction: the push is a branch target of the function itself. rax = rdi * 2 */
	.globl	p_asm_loop
	.type	p_asm_loop, @function
p_asm_loop:
	xor	%eax, %eax
1:	push	%rdi
	pop	%rcx
	add	$2, %rax
	dec	%rdi
	jnz	1b
	ret
	.size	p_asm_loop, . - p_asm_loop

/* No .size, no .type. */
	.globl	p_asm_nosize
p_asm_nosize:
	lea	4(%rdi), %rax
	ret

/* Several ends, one of them a conditional jump out of the function. rax = 0 (rdi == 0), rdi + 5, or p_asm_short */
	.globl	p_asm_ends
	.type	p_asm_ends, @function
p_asm_ends:
	push	%rbp
	mov	%rsp, %rbp
	pop	%rbp
	cmp	$1, %rdi
	je	p_asm_short
	xor	%eax, %eax
	test	%rdi, %rdi
	jnz	2f
	ret
2:	lea	5(%rdi), %rax
	ret
	.size	p_asm_ends, . - p_asm_ends

	.section .note.GNU-stack, "", @progbits
