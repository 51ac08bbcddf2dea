using System;
using System.Collections;
using System.Threading;
using System.Threading.Tasks;
using Homing;
using UnityEngine;
using UnityEngine.Networking;

/// <summary>
/// Put it on an object of the first scene. It connects, polls once a frame, and shows what comes.
/// With `homing dev` on the same machine it works as it is.
/// </summary>
public sealed class HomingNotifications : MonoBehaviour
{
    [SerializeField] string url = "ws://127.0.0.1:8081/ws";
    [SerializeField] string tokenUrl = "http://127.0.0.1:8080/dev/token?user=ann"; // your account service's

    HomingClient client;

    [Serializable]
    sealed class Gift
    {
        public string gift = "";
    }

    void Awake()
    {
        DontDestroyOnLoad(gameObject);
        Application.runInBackground = true;
        client = new HomingClient(new HomingOptions { Url = url, Token = FreshToken, Store = new PrefsStore() });
        client.Problem += Debug.LogException;
        client.StateChanged += change => Debug.Log("homing: " + change.State + (change.Why == null ? "" : ", " + change.Why + ", for " + change.Pause.TotalSeconds.ToString("F1") + " s"));
        client.Resumed += resumed => { if (!resumed.Recovered) Debug.Log("homing: something was missed, ask the backend"); };
        client.On("gift", OnGift);
        client.OnNotification = n => { Debug.Log("homing: " + n.Type + " " + n.Data); return null; };
        client.Start();
    }

    // All that the client has to say comes out of here, on the main thread.
    void Update() { client.Poll(); }

    // The notification is acknowledged when the task ends.
    async Task OnGift(Notification n)
    {
        var gift = JsonUtility.FromJson<Gift>(n.Data.Text);
        Debug.Log("homing: a " + gift.gift);
        await Task.Yield();
    }

    Task<string> FreshToken(CancellationToken cancel)
    {
        var done = new TaskCompletionSource<string>();
        StartCoroutine(Fetch(done));
        return done.Task;
    }

    IEnumerator Fetch(TaskCompletionSource<string> done)
    {
        using (var request = UnityWebRequest.Get(tokenUrl))
        {
            request.timeout = 8;
            yield return request.SendWebRequest();
            if (string.IsNullOrEmpty(request.error)) done.TrySetResult(request.downloadHandler.text.Trim());
            else done.TrySetException(new InvalidOperationException(request.error));
        }
    }

    // Coming back from the background: the connection may be dead, and Poll finds out.
    void OnApplicationPause(bool paused)
    {
        if (!paused && client != null) client.SetNetwork(Application.internetReachability != NetworkReachability.NotReachable);
    }

    // An application that ends has no time for good-bye; what is not acknowledged comes again.
    void OnDestroy()
    {
        if (client != null) client.Dispose();
    }

    /// <summary>Keeps places in PlayerPrefs.</summary>
    sealed class PrefsStore : IStore
    {
        public string Load(string key) { return PlayerPrefs.GetString("homing " + key, null); }
        public void Save(string key, string value) { PlayerPrefs.SetString("homing " + key, value); }
    }
}
