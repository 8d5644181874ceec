"""Ends TLS before a server that speaks none: tls.py CERTIFICATE KEY PORT SERVER_PORT, all on 127.0.0.1."""

import asyncio
import ssl
import sys


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(certificate, key, port, server_port):
    async def serve(reader, writer):
        server = await asyncio.open_connection("127.0.0.1", int(server_port))
        await asyncio.gather(pipe(reader, server[1]), pipe(server[0], writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with await asyncio.start_server(serve, "127.0.0.1", int(port), ssl=context) as front:
        await front.serve_forever()


asyncio.run(main(*sys.argv[1:]))
