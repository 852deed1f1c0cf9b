#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a capture with five packets: UDP to port 9 and to port 53, over IPv4 and IPv6, and ARP."""
import struct
import sys

ETH = bytes.fromhex("020000000002" "020000000001")


def udp(port: int) -> bytes:
    return struct.pack("!HHHH", 40000, port, 8 + 4, 0) + b"ping"


def ipv4(payload: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0,
                         bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]))
    return ETH + b"\x08\x00" + header + payload


def ipv6(payload: bytes) -> bytes:
    host = bytes.fromhex("20010db8000000000000000000000001")
    return ETH + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(payload), 17, 64) + host * 2 + payload


PACKETS = [
    ipv4(udp(9)),
    ipv4(udp(53)),
    ipv6(udp(9)),
    ipv6(udp(53)),
    ETH + b"\x08\x06" + bytes(28),
]

with open(sys.argv[1], "wb") as out:
    out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    for second, packet in enumerate(PACKETS):
        out.write(struct.pack("<IIII", second, 0, len(packet), len(packet)) + packet)
