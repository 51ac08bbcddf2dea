using System;
using System.IO;
using System.Net.WebSockets;
using System.Text;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>
    /// Connects with the runtime's ClientWebSocket, which goes through the system's HTTP proxy where
    /// the runtime does. It is told less: in Mono and Unity not the HTTP status of a refusal nor
    /// Retry-After, and the close codes 1012 and 1013 look like faults. The client then waits for the
    /// growing pause. Pings are not seen, so the client asks for signs of life by itself.
    /// </summary>
    public sealed class ClientWebSocketConnector : Connector
    {
        public override async Task<Connection> Connect(ConnectRequest request, CancellationToken cancel)
        {
            var socket = new ClientWebSocket();
            try
            {
                foreach (string protocol in request.Protocols) socket.Options.AddSubProtocol(protocol);
                foreach (var header in request.Headers) socket.Options.SetRequestHeader(header.Key, header.Value);
                socket.Options.KeepAliveInterval = TimeSpan.Zero; // the server pings
                await socket.ConnectAsync(request.Url, cancel).ConfigureAwait(false);
                if (socket.SubProtocol != Wire.Protocol) throw Handshake.Wrong("another subprotocol than " + Wire.Protocol);
                return new ClientConnection(socket, request);
            }
            catch (Exception)
            {
                socket.Dispose();
                throw;
            }
        }

        sealed class ClientConnection : Connection
        {
            readonly ClientWebSocket socket;
            readonly Clock clock;
            readonly int limit;
            readonly byte[] buffer = new byte[4096];
            readonly SemaphoreSlim writing = new SemaphoreSlim(1, 1);
            readonly CancellationTokenSource ended = new CancellationTokenSource();
            long heardAt; // ticks; both threads

            internal ClientConnection(ClientWebSocket socket, ConnectRequest request)
            {
                this.socket = socket;
                clock = request.Clock;
                limit = request.MessageLimit;
                heardAt = clock.Now.Ticks;
            }

            public override TimeSpan HeardAt { get { return new TimeSpan(Interlocked.Read(ref heardAt)); } }
            public override bool SeesPings { get { return false; } }

            public override async Task<Received> Receive()
            {
                var message = new MemoryStream();
                for (;;)
                {
                    var part = await socket.ReceiveAsync(new ArraySegment<byte>(buffer), ended.Token).ConfigureAwait(false);
                    Interlocked.Exchange(ref heardAt, clock.Now.Ticks);
                    if (part.MessageType == WebSocketMessageType.Close)
                    {
                        Farewell();
                        throw new EndedException(Ending.Closed(part.CloseStatus == null ? 1005 : (int)part.CloseStatus.Value, part.CloseStatusDescription));
                    }
                    if (message.Length + part.Count > limit) throw Handshake.Wrong("a message over " + limit + " bytes");
                    message.Write(buffer, 0, part.Count);
                    if (!part.EndOfMessage) continue;
                    var bytes = message.ToArray();
                    return part.MessageType == WebSocketMessageType.Binary ? new Received(bytes) : new Received(Encoding.UTF8.GetString(bytes));
                }
            }

            public override async Task Send(Received message)
            {
                bool text = message.Text != null;
                var bytes = text ? Encoding.UTF8.GetBytes(message.Text) : message.Bytes;
                await writing.WaitAsync().ConfigureAwait(false);
                try
                {
                    await socket.SendAsync(new ArraySegment<byte>(bytes), text ? WebSocketMessageType.Text : WebSocketMessageType.Binary, true, ended.Token).ConfigureAwait(false);
                }
                finally { writing.Release(); }
            }

            public override async Task SayClose(int code)
            {
                await writing.WaitAsync().ConfigureAwait(false);
                try { await socket.CloseOutputAsync((WebSocketCloseStatus)code, "", ended.Token).ConfigureAwait(false); }
                finally { writing.Release(); }
            }

            /// <summary>Answers a close frame, for a second at most, without being waited for.</summary>
            async void Farewell()
            {
                try
                {
                    ended.CancelAfter(1000);
                    await SayClose(1000).ConfigureAwait(false);
                }
                catch (Exception) { } // it ends either way
                Abort();
            }

            public override void Abort()
            {
                try
                {
                    ended.Cancel();
                    socket.Dispose();
                }
                catch (Exception) { } // it is closed already
            }
        }
    }
}
