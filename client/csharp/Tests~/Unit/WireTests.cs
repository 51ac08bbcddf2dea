using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Homing.Tests
{
    /// <summary>Frames, binary frames of rooms, and the handshake's answer.</summary>
    static class WireTests
    {
        internal static void Register()
        {
            Program.Add("frames: messages, in parts, with pings between", Messages);
            Program.Add("frames: what is wrong", Wrong);
            Program.Add("frames: close codes", Closes);
            Program.Add("frames: what is sent is masked", Masked);
            Program.Add("frames: byte by byte", ByteByByte);
            Program.Add("rooms: a binary frame", Binary);
            Program.Add("rooms: binary frames that are none", NotBinary);
            Program.Add("handshake: what is no answer", Replies);
        }

        /// <summary>Reads what is given, as much at once as is allowed, and keeps what is written.</summary>
        sealed class FakeStream : Stream
        {
            readonly byte[] input;
            readonly int atOnce;
            int at;
            internal readonly MemoryStream Written = new MemoryStream();

            internal FakeStream(byte[] input, int atOnce)
            {
                this.input = input;
                this.atOnce = atOnce;
            }

            public override int Read(byte[] buffer, int offset, int count)
            {
                int n = Math.Min(Math.Min(count, atOnce), input.Length - at);
                Buffer.BlockCopy(input, at, buffer, offset, n);
                at += n;
                return n;
            }

            public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancel) { return Task.FromResult(Read(buffer, offset, count)); }
            public override void Write(byte[] buffer, int offset, int count) { Written.Write(buffer, offset, count); }
            public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancel)
            {
                Write(buffer, offset, count);
                return Task.FromResult(true);
            }
            public override void Flush() { }
            public override Task FlushAsync(CancellationToken cancel) { return Task.FromResult(true); }
            public override bool CanRead { get { return true; } }
            public override bool CanWrite { get { return true; } }
            public override bool CanSeek { get { return false; } }
            public override long Length { get { throw new NotSupportedException(); } }
            public override long Position { get { throw new NotSupportedException(); } set { throw new NotSupportedException(); } }
            public override long Seek(long offset, SeekOrigin origin) { throw new NotSupportedException(); }
            public override void SetLength(long value) { throw new NotSupportedException(); }
        }

        static byte[] Hex(string text)
        {
            text = text.Replace(" ", "");
            var b = new byte[text.Length / 2];
            for (int i = 0; i < b.Length; i++) b[i] = Convert.ToByte(text.Substring(2 * i, 2), 16);
            return b;
        }

        static string HexOf(byte[] b) { return BitConverter.ToString(b).Replace("-", "").ToLowerInvariant(); }

        static FrameConnection On(FakeStream s, int limit = 1000)
        {
            return new FrameConnection(s, () => { }, new ArraySegment<byte>(new byte[0]), limit, Clock.System);
        }

        static T Result<T>(Task<T> task)
        {
            if (!task.Wait(5000)) throw new TestException("it does not end");
            return task.Result;
        }

        static Ending EndOf(FrameConnection c)
        {
            try { Result(c.Receive()); }
            catch (AggregateException e) { return EndedException.Of(e.GetBaseException()); }
            throw new TestException("it does not end");
        }

        static void Messages()
        {
            var s = new FakeStream(Hex("81 02 6869  89 01 70  01 01 61  8a 00  89 00  80 02 c3a9  82 03 0102ff  81 7e 0004 61626364"), 1000);
            var c = On(s);
            Want.Equal("hi", Result(c.Receive()).Text, "a text");
            Want.Equal("aé", Result(c.Receive()).Text, "a text in parts");
            Want.Equal("0102ff", HexOf(Result(c.Receive()).Bytes), "bytes");
            Want.Equal("abcd", Result(c.Receive()).Text, "a text with a long length");
            Want.Equal(EndKind.Lost, EndOf(c).Kind, "the end");
            Want.True(s.Written.Length == 7 + 6, "two pongs, have " + HexOf(s.Written.ToArray()));
        }

        static void Wrong()
        {
            foreach (string hex in new[]
            {
                "c1 00", "91 00", "83 00", "8b 00", "81 80 00000000", "09 00", "89 7e 0080", "80 00", "01 00 81 00", "81 01 ff", "81 02 c3c3",
                "88 01 03", "88 02 03ee", "88 02 03ec", "88 02 07d0", "88 02 1388", "88 03 03e8ff", "81 7e 03e9", "81 7f 8000000000000001", "82 7f 00000000ffffffff",
                "01 7e 03e8" + new string('6', 2000) + "80 01 61",
            })
                Want.Equal(EndKind.Protocol, EndOf(On(new FakeStream(Hex(hex), 1000))).Kind, "the end of " + hex.Substring(0, Math.Min(20, hex.Length)));
        }

        static void Closes()
        {
            foreach (int code in new[] { 1000, 1001, 1011, 1012, 1013, 1014, 3000, 4003, 4999 })
            {
                var s = new FakeStream(Hex("88 04 " + code.ToString("x4") + "6869"), 1000);
                var end = EndOf(On(s));
                Want.Equal(EndKind.Closed, end.Kind, "the end");
                Want.Equal(code, end.Code, "the code");
                Want.Equal("hi", end.Reason, "the reason");
                Want.Equal(4 + 6, (int)s.Written.Length, "its echo");
            }
            Want.Equal(1005, EndOf(On(new FakeStream(Hex("88 00"), 1000))).Code, "no code");
        }

        static void Masked()
        {
            foreach (int size in new[] { 0, 1, 125, 126, 65535, 65536 })
            {
                var s = new FakeStream(new byte[0], 1);
                string text = new string('x', size);
                On(s).Send(new Received(text)).Wait();
                var b = s.Written.ToArray();
                int head = size < 126 ? 2 : size < 65536 ? 4 : 10;
                Want.Equal(0x81, (int)b[0], "the first byte");
                Want.Equal(0x80 | (size < 126 ? size : size < 65536 ? 126 : 127), (int)b[1], "the second byte");
                Want.Equal(head + 4 + size, b.Length, "the length");
                long told = 0;
                for (int i = 2; i < head; i++) told = told << 8 | b[i];
                if (head > 2) Want.Equal((long)size, told, "the length that is told");
                for (int i = 0; i < size; i++) b[head + 4 + i] ^= b[head + (i & 3)];
                Want.Equal(text, Encoding.ASCII.GetString(b, head + 4, size), "the text");
            }
        }

        static void ByteByByte()
        {
            var c = On(new FakeStream(Hex("81 7e 0004 61626364 88 02 03f4"), 1));
            Want.Equal("abcd", Result(c.Receive()).Text, "a text");
            Want.Equal(1012, EndOf(c).Code, "the code");
        }

        static void Binary()
        {
            var f = Frame.OfBytes(Hex("09 02 01 02 03 616e6e 03 0102ff 00"));
            Want.Equal(9L, f.Tick, "the tick");
            Want.Equal(null, f.Recovered, "recovered");
            Want.Equal(1, f.Events.Count, "events");
            Want.Equal(2L, f.Events[0].N, "the number");
            Want.Equal("ann", f.Events[0].From, "from");
            Want.Equal("0102ff", HexOf(f.Events[0].Bytes), "the data");
            f = Frame.OfBytes(Hex("ac02 01 00 02 01 6b 01 02 0506 01 6c 00 00"));
            Want.Equal(300L, f.Tick, "the tick");
            Want.Equal(true, f.Recovered, "recovered");
            Want.Equal("0506", HexOf(f.Bytes["k"]), "a value");
            Want.Equal(null, f.Bytes["l"], "a value that is gone");
        }

        static void NotBinary()
        {
            var whole = Hex("09 02 01 02 03 616e6e 03 0102ff 01 01 6b 01 00");
            Frame.OfBytes(whole);
            for (int n = 0; n < whole.Length; n++)
            {
                var part = new byte[n];
                Buffer.BlockCopy(whole, 0, part, 0, n);
                Want.Throws<JsonException>(() => Frame.OfBytes(part), "the first " + n + " bytes");
            }
            foreach (string hex in new[] { "09 03 00 00", "09 02 00 00 00", "ffffffffffffffffffff 00 00 00", "09 02 01 02 ffffffff7f 61" })
                Want.Throws<JsonException>(() => Frame.OfBytes(Hex(hex)), hex);
            var chance = new Random(1);
            for (int i = 0; i < 20000; i++)
            {
                var b = new byte[chance.Next(40)];
                chance.NextBytes(b);
                try { Frame.OfBytes(b); }
                catch (JsonException) { }
            }
        }

        static void Replies()
        {
            foreach (string head in new[] { "", "HTTP/1.1", "HTTP/1.1 abc\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n" })
                Want.Throws<EndedException>(() => new Handshake.Reply().Parse(head), head);
            var reply = new Handshake.Reply();
            reply.Parse("HTTP/1.1 503 Service Unavailable\r\nRetry-After:  7 \r\nrubbish\r\n\r\n");
            Want.Equal(503, reply.Status, "the status");
            Want.Equal(7.0, reply.Refusal(Clock.System).RetryAfter.TotalSeconds, "Retry-After");
        }
    }
}
