//! The S3 server `s3s` on a folder, for the tests of the queue: `s3s-witness FOLDER` prints the
//! address at which it listens.
//!
//! Its file back end looks and writes without a lock: of many that create one object several
//! succeed. Here one request at a time writes. It also lists objects without their ETags, which S3
//! gives: they are filled in, but for jobs, which are many and whose versions nobody asks for.

use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    PutObjectInput, PutObjectOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::sync::Mutex;

struct Witness {
    files: FileSystem,
    writing: Mutex<()>,
}

#[async_trait::async_trait]
impl S3 for Witness {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let _one = self.writing.lock().await;
        self.files.put_object(request).await
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let _one = self.writing.lock().await;
        self.files.delete_object(request).await
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let _one = self.writing.lock().await;
        self.files.delete_objects(request).await
    }

    // A reader would else see a file of before with the ETag of after.
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let _one = self.writing.lock().await;
        self.files.get_object(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let _one = self.writing.lock().await;
        self.files.head_object(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let _one = self.writing.lock().await;
        let bucket = request.input.bucket.clone();
        let mut listed = self.files.list_objects_v2(request).await?;
        for object in listed.output.contents.iter_mut().flatten() {
            let Some(key) = object.key.clone().filter(|key| !key.contains("queue/jobs/")) else {
                continue;
            };
            let head = HeadObjectInput { bucket: bucket.clone(), key, ..Default::default() };
            let head = S3Request {
                input: head,
                method: Default::default(),
                uri: Default::default(),
                headers: Default::default(),
                extensions: Default::default(),
                credentials: None,
                region: None,
                service: None,
                trailing_headers: None,
            };
            object.e_tag = self.files.head_object(head).await?.output.e_tag;
        }
        Ok(listed)
    }
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).expect("the folder whose folders are buckets");
    let files = FileSystem::new(folder).expect("the folder can be opened");
    let service = S3ServiceBuilder::new(Witness { files, writing: Mutex::default() }).build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    println!("{}", listener.local_addr().expect("it is bound"));
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    loop {
        let (stream, _) = listener.accept().await.expect("somebody connects");
        let connection =
            server.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
        tokio::spawn(connection);
    }
}
