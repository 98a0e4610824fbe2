# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write first inputs for the fuzzers into FOLDER/NAME of each."""
import pathlib
import struct
import sys

JOBS = [
    b'{"kind":"site-create","name":"shop","from":"a@latest","expires":"7d","note":"x"}',
    b'{"kind":"site-import","name":"shop","dir":"\\ufffd/srv/\\\\xff","mode":"move"}',
    b'{"kind":"site-set","site":"a","set":{"label.x":null,"protected":"yes"}}',
    b'{"kind":"restore","source":"a@2026-11-22T03:00:00Z","paths":["x/y","z"],"exact":true}',
    b'{"kind":"publish","site":"a","generation":7}',
    b'{"kind":"undo","job":"1m80k4ptk","discard_since":true}',
    b'{"kind":"clone","source":"a:3","name":"b","method":"reflink","if_exists":"refresh"}',
]
GETS = [b'/healthz', b'/v1/sites?limit=3&cursor=a+b&label=k%3Dv&deleted=true', b'/v1/sites/a',
        b'/v1/sites/a/snapshots/2026-11-22', b'/v1/jobs/1m80k4ptk?wait=5', b'/v1/path?source=a:1',
        b'/v1/events?after=7', b'/v1/jobs/1m80k4ptk/cancel']
NAMES = [b'shop', b'shop@latest', b'shop@2026-11-22T03:00:00.123+01:00', b'shop:7', b'90s', b'4w',
         b'20261122t030000z', b'1m80k4ptk', b'\xef\xbf\xbd\\xff\\\\', b'\xff\xfe',
         b'0190b3a4-7c1d-7abc-8def-0123456789ab']


def text(s):
    return struct.pack('=I', len(s)) + s


def requests():
    """op numbers are tried in turn: most fields fit some of them."""
    for op in range(1, 43):
        head = struct.pack('=IIII', op, 1000, 1, 100)
        yield head
        for field in range(1, 34):
            yield head + struct.pack('=II', field, 0) + text(b'shop@a')
            yield head + struct.pack('=II', field, 2) + struct.pack('=q', 1)
            yield head + struct.pack('=II', field, 3) + struct.pack('=I', 1) + text(b'a=b')


def main():
    folder = pathlib.Path(sys.argv[1])
    sets = {
        'http': [b'POST\n/v1/jobs?wait=1\napplication/json\n' + j for j in JOBS] +
                [m + b'\n' + g + b'\n\n' for g in GETS for m in (b'GET', b'POST', b'PUT')],
        'names': NAMES,
        'request': list(requests()),
        'msg': [bytes([n]) + struct.pack('=IHHQQII', 0x6d647366, kind, 200, 7, size, n, 0) +
                b'x' * (0 if n else size)
                for kind in range(1, 6) for size in (0, 64, 100) for n in (0, 1)],
        'ini': [b'[fsd]\ncatalog = /a\nsocket = /b # c\n[pool main]\npath = /c\n'],
        'send_stream': [b'btrfs-stream\0' + struct.pack('<I', version) for version in (1, 2)],
        'response': [b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}',
                     b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
                     b'14\r\nid: 1\nevent: a\ndata: {}\n\n\r\n0\r\n\r\n'],
    }
    for name, inputs in sets.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, data in enumerate(inputs):
            (folder / name / ('seed-%04d' % i)).write_bytes(data)


if __name__ == '__main__':
    main()
