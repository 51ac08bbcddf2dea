using System;
using System.IO;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>
    /// A WebSocket (RFC 6455) on a stream, the client's side. The runtime's own hides pings, and in
    /// Mono and Unity it takes the close codes 1012 and 1013 for errors.
    /// </summary>
    sealed class FrameConnection : Connection
    {
        const int opContinuation = 0, opText = 1, opBinary = 2, opClose = 8, opPing = 9, opPong = 10;
        const int lastWords = 1000; // ms that a close frame of ours may take
        static readonly UTF8Encoding utf8 = new UTF8Encoding(false, true);

        readonly Stream stream;
        readonly Action close; // of the socket below
        readonly int limit; // bytes of one message
        readonly Clock clock;
        readonly SemaphoreSlim writing = new SemaphoreSlim(1, 1);
        readonly byte[] buffer = new byte[4096];
        int have, used; // what buffer holds, and how much of it was taken
        long heardAt; // ticks; both threads
        int aborted;
        bool goodbye; // a close frame is written, or about to be; under writing

        /// <summary>It owns the stream; early is what came behind the handshake.</summary>
        internal FrameConnection(Stream stream, Action close, ArraySegment<byte> early, int limit, Clock clock)
        {
            this.stream = stream;
            this.close = close;
            this.limit = limit;
            this.clock = clock;
            if (early.Count > buffer.Length) buffer = new byte[early.Count];
            Buffer.BlockCopy(early.Array, early.Offset, buffer, 0, early.Count);
            have = early.Count;
            heardAt = clock.Now.Ticks;
        }

        public override TimeSpan HeardAt { get { return new TimeSpan(Interlocked.Read(ref heardAt)); } }
        public override bool SeesPings { get { return true; } }

        public override async Task<Received> Receive()
        {
            var message = new MemoryStream();
            int kind = 0; // of the message in parts; 0 between messages
            for (;;)
            {
                var head = await ReadHead(kind != 0).ConfigureAwait(false);
                if (head.Op >= opClose)
                {
                    await Control(head).ConfigureAwait(false);
                    continue;
                }
                if (kind == 0) kind = head.Op;
                if (head.Length > limit - message.Length) throw Wrong("a message over " + limit + " bytes");
                await ReadInto(message, (int)head.Length).ConfigureAwait(false);
                if (head.Fin) return kind == opBinary ? new Received(message.ToArray()) : new Received(Decode(message));
            }
        }

        static string Decode(MemoryStream message)
        {
            try { return utf8.GetString(message.GetBuffer(), 0, (int)message.Length); }
            catch (ArgumentException) { throw Wrong("a text message that is not UTF-8"); }
        }

        struct Head
        {
            internal bool Fin;
            internal int Op;
            internal long Length;
        }

        async Task<Head> ReadHead(bool inParts)
        {
            await Need(2).ConfigureAwait(false);
            int first = buffer[used], second = buffer[used + 1];
            used += 2;
            var head = new Head { Fin = (first & 0x80) != 0, Op = first & 0x0f, Length = second & 0x7f };
            if ((first & 0x70) != 0) throw Wrong("a frame with reserved bits");
            if ((second & 0x80) != 0) throw Wrong("a masked frame");
            bool control = head.Op >= opClose;
            if (head.Op > opPong || (head.Op > opBinary && !control)) throw Wrong("a frame of kind " + head.Op);
            if (control && (!head.Fin || head.Length > 125)) throw Wrong("a control frame in parts, or too long");
            if (!control && inParts != (head.Op == opContinuation)) throw Wrong("a part of no message, or a message in another");
            int more = head.Length == 126 ? 2 : head.Length == 127 ? 8 : 0;
            if (more == 0) return head;
            await Need(more).ConfigureAwait(false);
            ulong length = 0;
            for (int i = 0; i < more; i++) length = length << 8 | buffer[used++];
            if (length > long.MaxValue) throw Wrong("a frame of negative length");
            head.Length = (long)length;
            return head;
        }

        async Task Control(Head head)
        {
            var payload = new MemoryStream();
            await ReadInto(payload, (int)head.Length).ConfigureAwait(false);
            var bytes = payload.ToArray();
            if (head.Op == opPing)
            {
                // Not waited for: what the server has said is read also while it reads nothing.
                Link.Forget(Write(opPong, bytes));
                return;
            }
            if (head.Op != opClose) return;
            var end = ReadClose(bytes);
            Farewell(bytes);
            throw new EndedException(end);
        }

        static Ending ReadClose(byte[] payload)
        {
            if (payload.Length == 0) return Ending.Closed(1005, "");
            int code = payload.Length < 2 ? 0 : payload[0] << 8 | payload[1];
            if (!ValidClose(code)) throw Wrong("a close frame with the code " + code);
            try { return Ending.Closed(code, utf8.GetString(payload, 2, payload.Length - 2)); }
            catch (ArgumentException) { throw Wrong("a close reason that is not UTF-8"); }
        }

        /// <summary>What RFC 6455 and its registry name, libraries' and applications' codes.</summary>
        static bool ValidClose(int code)
        {
            return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
        }

        static EndedException Wrong(string what) { return new EndedException(Ending.Of(EndKind.Protocol, what)); }

        async Task ReadInto(MemoryStream message, int count)
        {
            while (count > 0)
            {
                if (used == have) await Fill().ConfigureAwait(false);
                int part = Math.Min(count, have - used);
                message.Write(buffer, used, part);
                used += part;
                count -= part;
            }
        }

        /// <summary>Makes sure that so many bytes are in the buffer, at most 8.</summary>
        async Task Need(int count)
        {
            while (have - used < count) await Fill().ConfigureAwait(false);
        }

        async Task Fill()
        {
            if (used > 0)
            {
                Buffer.BlockCopy(buffer, used, buffer, 0, have - used);
                have -= used;
                used = 0;
            }
            int n = await stream.ReadAsync(buffer, have, buffer.Length - have).ConfigureAwait(false);
            if (n <= 0) throw new EndedException(Ending.Of(EndKind.Lost, "the connection has ended"));
            have += n;
            Interlocked.Exchange(ref heardAt, clock.Now.Ticks);
        }

        public override Task Send(Received message)
        {
            return message.Text != null ? Write(opText, utf8.GetBytes(message.Text)) : Write(opBinary, message.Bytes);
        }

        public override Task SayClose(int code)
        {
            return Write(opClose, new[] { (byte)(code >> 8), (byte)code });
        }

        async Task Write(int op, byte[] payload)
        {
            var frame = Frame(op, payload);
            await writing.WaitAsync().ConfigureAwait(false);
            try
            {
                if (goodbye) return; // nothing may follow it
                goodbye = op == opClose;
                await stream.WriteAsync(frame, 0, frame.Length).ConfigureAwait(false);
                await stream.FlushAsync().ConfigureAwait(false);
            }
            finally { writing.Release(); }
        }

        static byte[] Frame(int op, byte[] payload)
        {
            int size = payload.Length;
            int head = size < 126 ? 2 : size <= 0xffff ? 4 : 10;
            var frame = new byte[head + 4 + size];
            frame[0] = (byte)(0x80 | op);
            if (head == 2) frame[1] = (byte)(0x80 | size);
            else
            {
                frame[1] = (byte)(0x80 | (head == 4 ? 126 : 127));
                for (int i = head - 1, rest = size; i >= 2; i--, rest >>= 8) frame[i] = (byte)rest;
            }
            var mask = Clock.Bytes(4);
            Buffer.BlockCopy(mask, 0, frame, head, 4);
            for (int i = 0; i < size; i++) frame[head + 4 + i] = (byte)(payload[i] ^ mask[i & 3]);
            return frame;
        }

        /// <summary>Repeats a close frame and ends the connection soon, without being waited for.</summary>
        async void Farewell(byte[] payload)
        {
            try
            {
                using (var stop = new CancellationTokenSource())
                {
                    var said = Write(opClose, payload);
                    await Task.WhenAny(said, Task.Delay(lastWords, stop.Token)).ConfigureAwait(false);
                    stop.Cancel();
                    Link.Forget(said);
                }
            }
            catch (Exception) { } // it ends either way
            Abort();
        }

        public override void Abort()
        {
            if (Interlocked.Exchange(ref aborted, 1) != 0) return;
            try { close(); }
            catch (Exception) { } // it is closed already
        }
    }
}
