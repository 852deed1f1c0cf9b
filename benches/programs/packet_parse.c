/* 32 frames of 96 bytes: Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with an extension
 * header, TCP; what is found goes into a sum. */
#define MEMORY 3072
#define FRAME 96
#define NOTHING 0xdeadu
#include "program.h"

inline_always u32 big16(const u8 *at)
{
	return (u32)at[0] << 8 | at[1];
}

inline_always u32 big32(const u8 *at)
{
	return big16(at) << 16 | big16(at + 2);
}

inline_always u64 parse(const u8 *frame)
{
	u32 at = 14, kind = big16(frame + 12), protocol, found;

	for (u32 tag = 0; tag < 2 && (kind == 0x8100 || kind == 0x88a8); tag++) {
		kind = big16(frame + at + 2);
		at += 4;
	}
	if (kind == 0x0800) {
		u32 words = frame[at] & 15;

		if (frame[at] >> 4 != 4 || words < 5)
			return NOTHING;
		protocol = frame[at + 9];
		found = big32(frame + at + 12) ^ big32(frame + at + 16);
		at += words * 4;
	} else if (kind == 0x86dd) {
		if (frame[at] >> 4 != 6)
			return NOTHING;
		protocol = frame[at + 6];
		found = big32(frame + at + 8) ^ big32(frame + at + 20) ^ big32(frame + at + 24) ^
			big32(frame + at + 36);
		at += 40;
		if (protocol == 0) {
			protocol = frame[at];
			at += 8;
		}
	} else {
		return kind;
	}
	/* Frames end within 96 bytes, or are not looked into further. */
	if (protocol != 6 || at > FRAME - 20)
		return protocol;
	found = found * 31 + big32(frame + at);
	found = found * 31 + frame[at + 13];
	return (u64)found << 8 | frame[at + 12] >> 4;
}

u64 run(u8 *mem, u64 len)
{
	u64 sum = 0;

	for (u64 at = 0; at < len; at += FRAME)
		sum = sum * 31 + parse(mem + at);
	return sum;
}
